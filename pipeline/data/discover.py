"""What stands where: a data set's location to its files, local or by fsspec.

Invariant: the same files give the same names in the same order on every machine; names are
sorted by code point, hidden ones are skipped, and no link is followed out of the folder.
"""

from __future__ import annotations

import glob
import itertools
import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import fsspec
from fsspec.spec import AbstractFileSystem

from pipeline.io.objects import local_path
from pipeline.io.retry import with_retry
from schemas.errors import DatasetError
from schemas.secrets import mask

_BRACES = re.compile(r"\{([^{}]*(?:\.\.|,)[^{}]*)\}")
_BLOCK_BYTES = 1 << 23
_NUMBERS = re.compile(r"(\d+)\.\.(\d+)")


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


def absolute(uri: str) -> str:
    """A local path made absolute, as plain path; any other URL as it is."""
    path = local_path(uri)
    return uri if path is None else os.path.abspath(path.expanduser())  # noqa: PTH100 - keeps links


def join_relative(folder: str, name: str) -> str:
    """``name`` seen from ``folder``; a URL or an absolute path stays itself."""
    if "://" in name:
        return absolute(name)
    scheme, mark, path = folder.rpartition("://")
    if name.startswith("/") and not mark:
        return posixpath.normpath(name)
    return scheme + mark + posixpath.normpath(f"{path}/{name}")


def kind_of(uri: str) -> str:
    """What stands at one location.

    Returns:
        ``file``, ``folder`` or ``nothing``.

    Raises:
        PermissionError: the store refuses to look.
        StoreUnavailableError: no answer.
        DatasetError: no driver for this kind of URL.
    """
    path = local_path(uri)
    if path is not None:
        return "folder" if path.is_dir() else "file" if path.is_file() else "nothing"
    system, name = _system(uri)
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
    system, root = _system(folder)
    found = with_retry(lambda: system.find(root), f"listing {folder}")
    prefix = root.rstrip("/") + "/"
    names = (name.removeprefix(prefix) for name in found if not name.endswith("/"))
    return Folder(folder.rstrip("/"), tuple(sorted(name for name in names if not _hidden(name))))


def open_stream(url: str) -> IO[bytes]:
    """A file to read from its beginning; a remote one comes in blocks of 8 MiB.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: the store refuses to read it.
    """
    path = local_path(url)
    if path is not None:
        return path.open("rb")
    system, name = _system(url)
    stream: IO[bytes] = system.open(name, "rb", block_size=_BLOCK_BYTES)
    return stream


def expand(uri: str) -> list[str]:
    """The locations that a glob or a brace expansion stands for.

    ``{0000..0010}`` counts with its leading zeros, ``{a,b}`` lists; then ``*``, ``?`` and
    ``[...]`` match, in sorted order. A URL of http(s) knows braces only.

    Returns:
        Locations that exist where a glob gave them, unchecked where only braces did.
    """
    expanded: list[str] = []
    for url in _braces(uri):
        path = local_path(url)
        if not glob.has_magic(url) or url.startswith(("http://", "https://")):
            expanded.append(url)
        elif path is not None:
            expanded += sorted(glob.glob(url, recursive=True))  # noqa: PTH207 - skips hidden
        else:
            expanded += sorted(_glob(url))
    return expanded


def _glob(url: str) -> list[str]:
    system, name = _system(url)
    found = with_retry(lambda: system.glob(name), f"listing {url}")
    return [system.unstrip_protocol(each) for each in found if not _hidden(Path(each).name)]


def _braces(text: str) -> list[str]:
    match = _BRACES.search(text)
    if match is None:
        return [text]
    if numbers := _NUMBERS.fullmatch(match[1]):
        first, last = numbers.groups()
        choices = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    tails = _braces(text[match.end() :])
    return [text[: match.start()] + a + b for a, b in itertools.product(choices, tails)]


def _hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _system(url: str) -> tuple[AbstractFileSystem, str]:
    try:
        system, name = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise DatasetError(
            f"{mask(url)}: no driver for this kind of URL ({mask(str(error))}); install its fsspec "
            "package (s3fs, gcsfs ...) or take another place"
        ) from error
    return system, name


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
