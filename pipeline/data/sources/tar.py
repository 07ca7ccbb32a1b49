"""Tar shards (WebDataset's layout) to rows of the image list.

A row is the byte range [offset, offset + length) of an uncompressed tar, so that an image can be
read alone; rows stand in the order of the shards, then of their members.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO

import pyarrow as pa

from pipeline.data.image_rows import PICTURE_EXTENSIONS, as_text, list_rows
from pipeline.io.browse import open_stream
from pipeline.io.retry import with_retry
from schemas.errors import DatasetError
from schemas.secrets import mask

_SHARDS_AT_ONCE = 8
_LARGEST_NOTE_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"


@dataclass
class _Members:
    """What one tar holds: its pictures in order, and what is said of them by key."""

    names: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    class_names: dict[str, str] = field(default_factory=dict)


def tar_rows(urls: Sequence[str], limit: int | None = None) -> pa.Table:
    """The pictures of tar shards, not numbered.

    Only headers and notes are used, but a remote shard is streamed through to find them.

    Args:
        urls: the shards, in order.
        limit: shards after the one that completes so many pictures are not looked at.

    Raises:
        DatasetError: a shard is missing, compressed or damaged, or a note is wrong.
        StoreUnavailableError: no answer from the store.
    """
    tables: list[pa.Table] = []
    with ThreadPoolExecutor(1 if limit is not None else _SHARDS_AT_ONCE) as pool:
        try:
            for table in pool.map(_one, urls):
                tables.append(table)
                if limit is not None and sum(each.num_rows for each in tables) >= limit:
                    break
        finally:
            pool.shutdown(cancel_futures=True)
    return pa.concat_tables(tables)


def _one(url: str) -> pa.Table:
    try:
        members = with_retry(lambda: _index(url), f"reading {url}")
    except FileNotFoundError as error:
        raise DatasetError(f"{mask(url)}: no such tar shard; check the path or braces") from error
    except PermissionError as error:
        raise DatasetError(f"{mask(url)}: may not be read; give access") from error
    except tarfile.TarError as error:
        raise DatasetError(
            f"{mask(url)}: no readable tar: {error}; copy or write the shard again"
        ) from error
    return list_rows(
        [f"{url}#{as_text(name)}" for name in members.names],
        label=[members.labels.get(key) for key in members.keys],
        class_name=[members.class_names.get(key) for key in members.keys],
        container=pa.repeat(url, len(members.names)),
        offset=members.offsets,
        length=members.lengths,
    )


def _index(url: str) -> _Members:
    members = _Members()
    with open_stream(url) as file:
        if file.read(2) == _GZIP:
            raise DatasetError(
                f"{mask(url)}: is compressed, so an image in it cannot be read alone; unpack the "
                "shard with gunzip (pictures hardly shrink)"
            )
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isreg() and not member.issparse():
                    _note(members, member, archive, url)
    return members


def _note(members: _Members, member: tarfile.TarInfo, archive: tarfile.TarFile, url: str) -> None:
    folder, _, base = member.name.rpartition("/")
    stem, _, extension = base.lower().partition(".")
    key = f"{folder}/{base[: len(stem)]}"
    if not stem:
        return
    if PurePosixPath(base).suffix.lower() in PICTURE_EXTENSIONS:
        members.names.append(member.name)
        members.keys.append(key)
        members.offsets.append(member.offset_data)
        members.lengths.append(member.size)
    elif extension in {"cls", "json"}:
        content = archive.extractfile(member)
        if content is not None and member.size <= _LARGEST_NOTE_BYTES:
            where = f"{mask(url)}#{member.name}"
            (_read_class if extension == "cls" else _read_json)(members, key, content, where)


def _read_class(members: _Members, key: str, content: IO[bytes], where: str) -> None:
    text = content.read().decode("utf-8", "replace").strip()
    if re.fullmatch(r"\d+", text):
        members.labels[key] = _checked(int(text), where)
    elif text:
        members.class_names[key] = text


def _read_json(members: _Members, key: str, content: IO[bytes], where: str) -> None:
    try:
        values = json.load(content)
    except ValueError as error:
        raise DatasetError(f"{where}: no readable JSON: {error}; mend it or drop it") from error
    if not isinstance(values, dict):
        return
    label, name = values.get("label"), values.get("class_name")
    if isinstance(label, int) and not isinstance(label, bool):
        members.labels.setdefault(key, _checked(label, where))
    if isinstance(name, str) and name:
        members.class_names.setdefault(key, name)


def _checked(label: int, where: str) -> int:
    if not 0 <= label < 2**31:
        raise DatasetError(f"{where}: label {label} is no class index; write an integer from 0")
    return label
