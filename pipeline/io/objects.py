"""Write-once objects by path or URL: a name once put never changes, and is never seen half written.

Paths without a scheme, and ``file://``, go to `pipeline.io.local`; every other URL to fsspec, each
call tried again while the store is briefly away.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.spec import AbstractFileSystem

from pipeline.io import local
from pipeline.io.retry import http_status, with_retry
from schemas.errors import SpecError, StoreError, UnsafeStoreError
from schemas.secrets import mask

_LOCAL_SCHEME = re.compile(r"^(?:file|local)://")
_DELETIONS_AT_ONCE = 16


def join(url: str, *names: str) -> str:
    """``url`` and names below it, with single slashes between."""
    return "/".join([url.rstrip("/"), *(name.strip("/") for name in names)])


def local_path(url: str) -> Path | None:
    """The path of a local URL or plain path; None for any other store."""
    if _LOCAL_SCHEME.match(url):
        return Path(_LOCAL_SCHEME.sub("", url))
    # No scheme begins with a slash, but a file's name may hold what looks like one.
    remote = not url.startswith("/") and ("://" in url or "::" in url)
    return None if remote else Path(url)


def file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec driver of a URL, and the object's name in it; for `pipeline.io` alone."""
    try:
        # Without its caches of listings, because another process's objects must be seen.
        system, name = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise SpecError(
            f"{mask(url)}: no driver for this kind of URL ({mask(str(error))}); install its fsspec "
            "package (s3fs, gcsfs ...) or take another place"
        ) from error
    return system, name


def read(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes [start, end) of an object, all of it without bounds; bounds are not negative.

    Raises:
        FileNotFoundError: there is no such object.
        PermissionError: the store refuses to read it.
        StoreUnavailableError: no answer.
        SpecError: no fsspec driver for the URL is installed; any function here may say so.
    """
    path = local_path(url)
    if path is not None:
        return local.read(path, start, end)
    if end is not None and end <= (start or 0):
        return b""
    system, name = file_system(url)
    data: bytes = with_retry(lambda: system.cat_file(name, start=start, end=end), f"reading {url}")
    return data


def size(url: str) -> int:
    """Bytes of an object.

    Raises:
        FileNotFoundError: there is no such object.
        PermissionError: the store refuses to look.
        StoreUnavailableError: no answer.
    """
    path = local_path(url)
    if path is not None:
        return path.stat().st_size
    info = _remote_info(url)
    if info["type"] != "file":
        raise FileNotFoundError(mask(url))
    return int(info["size"])


def exists(url: str) -> bool:
    """Whether there is an object (not a folder) at ``url``.

    Raises:
        StoreError: nobody can tell (no permission, no answer ...).
    """
    path = local_path(url)
    with _explained(url, "looked at"):
        if path is not None:
            return path.is_file()
        # fsspec's own exists() answers False to any error, a broken connection included.
        try:
            return bool(_remote_info(url)["type"] == "file")
        except FileNotFoundError:
            return False


def list_names(folder: str) -> list[str]:
    """Sorted names of the objects directly in ``folder``, by one listing; [] if it is absent.

    Raises:
        StoreError: it cannot be listed.
    """
    return _list(folder, folders=False)


def list_folders(folder: str) -> list[str]:
    """Sorted names of the folders directly in ``folder``, by one listing; [] if it is absent."""
    return _list(folder, folders=True)


def put_once(url: str, data: bytes) -> bytes:
    """Put ``data`` if nothing stands at ``url``.

    Returns:
        The content that stands: ``data`` itself if it was put first, else what was read back. A
        put whose answer was lost finds its own bytes, so the caller compares.

    Raises:
        StoreUnavailableError: no answer.
        StoreError: it cannot be written (no space, no permission, no such bucket ...).
        UnsafeStoreError: a local file system without hard links.
    """
    path = local_path(url)
    with _explained(url, "written"):
        return _put_remote(url, data) if path is None else local.put_once(path, data)


def delete(url: str) -> None:
    """Remove one object; absent is fine, and what cannot be deleted a `StoreError`."""
    path = local_path(url)
    with _explained(url, "deleted"):
        if path is not None:
            path.unlink(missing_ok=True)
            return
        system, name = file_system(url)
        with_retry(lambda: _remove(system, name), f"deleting {url}")


def delete_tree(folder: str) -> None:
    """Remove every object below ``folder``; absent is fine, and so is another who deletes too.

    Raises:
        StoreError: one cannot be deleted.
    """
    path = local_path(folder)
    with _explained(folder, "deleted"):
        if path is None:
            _delete_remote_tree(folder)
        else:
            local.delete_tree(path)


def _delete_remote_tree(folder: str) -> None:
    system, root = file_system(folder)
    try:
        names = with_retry(lambda: system.find(root), f"listing {folder}")
    except FileNotFoundError:
        return
    # One by one: fsspec's recursive rm reads brackets and stars in a name as a glob.
    with ThreadPoolExecutor(_DELETIONS_AT_ONCE) as pool:
        done = [
            pool.submit(with_retry, lambda name=name: _remove(system, name), f"deleting {name}")
            for name in names
        ]
        for each in done:
            each.result()


def sweep_temporary(folder: str) -> None:
    """Remove the temporary files that killed writers left in ``folder``; a living one recovers."""
    path = local_path(folder)
    if path is not None:
        local.sweep_temporary(path)


def probe(folder: str) -> None:
    """Make sure that the store refuses to put a name twice; leaves nothing behind.

    Raises:
        UnsafeStoreError: it does not, or has no such put at all.
        StoreError: it cannot be written.
    """
    url = join(folder, f"probe-{uuid4().hex}")
    way_out = (
        "two writers could overwrite each other there; take a run folder on a local disk, on S3 "
        "or on GCS, or upgrade the server until it honours If-None-Match"
    )
    if local_path(url) is None:
        system, _ = file_system(url)
        if getattr(system.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file:
            raise UnsafeStoreError(f"{mask(folder)}: its fsspec driver only looks first; {way_out}")
    try:
        put_once(url, b"first")
        standing = put_once(url, b"second")
    # The ways in which fsspec's drivers say that they do not know the mode "create".
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UnsafeStoreError(
            f"{mask(folder)}: its fsspec driver has no put-if-absent ({error}); {way_out}"
        ) from error
    except StoreError:
        # Where nothing can be written the delete fails too, and says less.
        with contextlib.suppress(StoreError):
            delete(url)
        raise
    delete(url)
    if standing != b"first":
        raise UnsafeStoreError(
            f"{mask(folder)}: the store ignored the condition of a put-if-absent; {way_out}"
        )


@contextlib.contextmanager
def _explained(url: str, done: str) -> Iterator[None]:
    """Turns what the system or the store answers into a `StoreError` with the way out."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{mask(url)}: cannot be {done}: {type(error).__name__}: {mask(str(error))}; "
            "make room or give access, then run the same command again: it resumes"
        ) from error


def _remote_info(url: str) -> dict[str, Any]:
    system, name = file_system(url)
    info: dict[str, Any] = with_retry(lambda: system.info(name), f"looking at {url}")
    return info


def _list(folder: str, *, folders: bool) -> list[str]:
    path = local_path(folder)
    with _explained(folder, "listed"):
        if path is not None:
            return local.list_entries(path, folders=folders)
        return _list_remote(folder, folders=folders)


def _list_remote(folder: str, *, folders: bool) -> list[str]:
    system, root = file_system(folder)
    try:
        entries = with_retry(lambda: system.ls(root, detail=True), f"listing {folder}")
    except FileNotFoundError:
        return []
    prefix = root.rstrip("/") + "/"
    kind = "directory" if folders else "file"
    names = {
        entry["name"].removeprefix(prefix).rstrip("/")
        for entry in entries
        if entry["type"] == kind and entry["name"].startswith(prefix)
    }
    return sorted(names - {""})


def _put_remote(url: str, data: bytes) -> bytes:
    system, name = file_system(url)
    tries = 0
    while True:
        tries += 1
        if with_retry(lambda: _create(system, name, data), f"writing {url}"):
            return data
        try:
            return read(url)
        except FileNotFoundError:
            # It was deleted between the refusal and the look, so the name is free again.
            if tries == local.PUT_TRIES:
                raise


def _create(system: AbstractFileSystem, name: str, data: bytes) -> bool:
    """One conditional put; False if the name is taken."""
    try:
        system.pipe_file(name, data, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        if http_status(error) == 412:
            return False
        raise
    return True


def _remove(system: AbstractFileSystem, name: str) -> None:
    try:
        system.rm_file(name)
    except FileNotFoundError:
        return
