"""A file-like view of one object, for readers of Parquet that need a few ranges of it."""

from __future__ import annotations

import io

from pipeline.io import objects


class RangeFile(io.RawIOBase):
    """A seekable file over one object that fetches only the bytes asked for.

    Args:
        url: the object.
        size: its length in bytes.
    """

    def __init__(self, url: str, size: int) -> None:
        super().__init__()
        self._url = url
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The next byte to read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as `io.IOBase.seek` does."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes, all that are left if negative."""
        end = self._size if size is None or size < 0 else self._position + size
        data = objects.read(self._url, self._position, min(end, self._size))
        self._position += len(data)
        return data
