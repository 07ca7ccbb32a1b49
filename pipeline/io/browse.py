"""A look at files that others wrote, in any store: what stands at a URL, and what below it.

Names come in the same order on every machine, sorted by code point; hidden ones are skipped, and
no link is followed out of a folder.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pipeline.io.objects import file_system, local_path
from pipeline.io.retry import with_retry

_BLOCK_BYTES = 1 << 23


@dataclass(frozen=True)
class Folder:
    """A folder's files.

    Attributes:
        root: absolute path or URL, without a slash at the end.
        names: paths relative to it, with forward slashes, sorted by code point.
        links_outside: symbolic links that lead out of the folder; they are skipped.
    """

    root: str
    names: tuple[str, ...]
    links_outside: int = 0


def kind_of(uri: str) -> Literal["file", "folder", "nothing"]:
    """What stands at one location.

    Raises:
        PermissionError: the store refuses to look.
        StoreUnavailableError: no answer.
        SpecError: no driver for this kind of URL; any function here may say so.
    """
    path = local_path(uri)
    if path is not None:
        return "folder" if path.is_dir() else "file" if path.is_file() else "nothing"
    system, name = file_system(uri)
    try:
        info = with_retry(lambda: system.info(name), f"looking at {uri}")
    except FileNotFoundError:
        return "nothing"
    return "folder" if info["type"] == "directory" else "file"


def find_files(folder: str) -> Folder:
    """All files below a folder that `kind_of` has found; see `Folder`.

    Raises:
        PermissionError: a folder may not be listed.
        StoreUnavailableError: no answer.
    """
    if local_path(folder) is not None:
        return _walk(folder)
    system, root = file_system(folder)
    found = with_retry(lambda: system.find(root), f"listing {folder}")
    prefix = root.rstrip("/") + "/"
    names = (name.removeprefix(prefix) for name in found if not name.endswith("/"))
    return Folder(folder.rstrip("/"), tuple(sorted(name for name in names if not _hidden(name))))


def find_matches(pattern: str) -> list[str]:
    """The files and folders that a glob (``*``, ``**``, ``?``, ``[...]``) matches, sorted.

    Raises:
        StoreUnavailableError: no answer.
    """
    if local_path(pattern) is not None:
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - skips hidden
    system, name = file_system(pattern)
    found = with_retry(lambda: system.glob(name), f"listing {pattern}")
    return sorted(system.unstrip_protocol(each) for each in found if not _hidden(Path(each).name))


def open_stream(url: str) -> IO[bytes]:
    """A file to read from its beginning; a remote one comes in blocks of 8 MiB.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: the store refuses to read it.
    """
    path = local_path(url)
    if path is not None:
        return path.open("rb")
    system, name = file_system(url)
    stream: IO[bytes] = system.open(name, "rb", block_size=_BLOCK_BYTES)
    return stream


def _hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _walk(root: str) -> Folder:
    """A local folder; a link inside it that leads back to one of its own parents is not entered."""
    inside = os.path.realpath(root)
    names: list[str] = []
    links_outside = 0
    waiting: list[tuple[str, tuple[str, ...]]] = [("", (inside,))]
    while waiting:
        prefix, parents = waiting.pop()
        with os.scandir(f"{root}/{prefix}") as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                real = f"{parents[-1]}/{entry.name}"
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                    if os.path.commonpath([inside, real]) != inside:
                        links_outside += 1
                        continue
                # An entry that is a link to itself raises where a path says no.
                target = Path(entry.path) if entry.is_symlink() else entry
                if target.is_dir():
                    if real not in parents:
                        waiting.append((f"{prefix}{entry.name}/", (*parents, real)))
                elif target.is_file() or _dangles(entry):
                    names.append(prefix + entry.name)
    return Folder(root, tuple(sorted(names)), links_outside)


def _dangles(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to nothing, which is listed so that reading it says "missing".

    A link to a pipe or a device is not: reading it could wait for ever.
    """
    return entry.is_symlink() and not Path(entry.path).exists()
