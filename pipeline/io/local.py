"""Write-once objects on a mounted file system.

Invariant: a name is either absent or holds its whole content on the disk, whenever the process
or the machine dies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from uuid import uuid4

from pipeline.io.failpoints import failpoint
from schemas.errors import UnsafeStoreError

TEMPORARY_PREFIX = ".tmp-"
PUT_TRIES = 8
_NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def read(path: Path, start: int | None, end: int | None) -> bytes:
    """The bytes [start, end) of a file; a missing bound is the file's own."""
    with path.open("rb") as file:
        first = start or 0
        file.seek(first)
        return file.read() if end is None else file.read(max(0, end - first))


def list_entries(folder: Path, *, folders: bool) -> list[str]:
    """Sorted names of the files, or of the folders, in ``folder``; no temporary files."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if (entry.is_dir() if folders else entry.is_file())
                and not entry.name.startswith(TEMPORARY_PREFIX)
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


def put_once(path: Path, data: bytes) -> bytes:
    """Put ``data`` if nothing stands at ``path``; the content that stands.

    The link is the only step that shows, and it refuses a name that is taken. A temporary file or
    a folder that somebody removes meanwhile (a sweep, a publisher's clean-up) is made again, which
    is what lets `sweep_temporary` need no knowledge of who is alive.

    Raises:
        UnsafeStoreError: the file system has no hard links.
        OSError: it cannot be written (no space, no permission ...); no temporary file is left.
    """
    tries = 0
    while True:
        tries += 1
        temporary = path.parent / f"{TEMPORARY_PREFIX}{uuid4().hex}"
        try:
            _make_folder(path.parent)
            _write_synced(temporary, data)
            return data if _link(temporary, path) else path.read_bytes()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE) or tries == PUT_TRIES:
                raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink(missing_ok=True)
                _sync_folder(path.parent)


def delete_tree(folder: Path, tries: int = 3) -> None:
    """Remove a folder and all in it; what others remove meanwhile, or keep adding, is no error."""
    for _ in range(tries):
        for parent, _, names in os.walk(folder, topdown=False):
            for name in names:
                Path(parent, name).unlink(missing_ok=True)
            try:
                Path(parent).rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
        if not folder.exists():
            return
        time.sleep(0.05)


def sweep_temporary(folder: Path) -> None:
    """Remove the temporary files that killed processes left in ``folder`` itself."""
    try:
        with os.scandir(folder) as entries:
            left = [entry.path for entry in entries if entry.name.startswith(TEMPORARY_PREFIX)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in left:
        Path(path).unlink(missing_ok=True)


def _write_synced(path: Path, data: bytes) -> None:
    half = len(data) // 2
    with path.open("xb") as file:
        file.write(data[:half])
        file.flush()
        failpoint("file-half-written")
        file.write(data[half:])
        file.flush()
        os.fsync(file.fileno())


def _link(temporary: Path, path: Path) -> bool:
    """Give the written file its name; False if the name is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in _NO_HARD_LINKS:
            raise UnsafeStoreError(
                f"{path.parent}: this file system has no hard links, so a file cannot be put there "
                "whole and only once; take a run folder on another disk or an object store"
            ) from error
        raise
    return True


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, each durable in its own parent."""
    missing = []
    ancestor = folder
    while not ancestor.is_dir():
        missing.append(ancestor)
        ancestor = ancestor.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
