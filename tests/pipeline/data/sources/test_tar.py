"""Tar shards list their pictures with the byte range in which each stands."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from pipeline.data.sources.tar import tar_rows
from schemas.errors import DatasetError


def shard(path: Path, *members: tuple[str, bytes], kind: int = tarfile.PAX_FORMAT) -> str:
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_rows_point_at_the_bytes(tmp_path: Path, kind: int):
    long_name = "d" * 90 + "/" + "n" * 90 + ".JPG"
    members = {"a.jpg": b"first", "sub/b.png": b"x" * 1000, long_name: b"last one"}
    url = shard(tmp_path / "s.tar", *members.items(), ("notes.txt", b"text"), kind=kind)

    rows = tar_rows([url]).to_pydict()

    whole = Path(url).read_bytes()
    places = zip(rows["offset"], rows["length"], strict=True)
    assert [whole[start : start + size] for start, size in places] == list(members.values())
    assert rows["uri"] == [f"{url}#{name}" for name in members]
    assert rows["container"] == [url] * 3
    assert rows["label"] == [None] * 3


def test_tar_rows_of_a_name_that_is_not_utf8_can_be_read(tmp_path: Path):
    url = shard(tmp_path / "s.tar", ("caf\udce9.jpg", b"first"), kind=tarfile.GNU_FORMAT)

    rows = tar_rows([url]).to_pydict()

    assert rows["uri"] == [f"{url}#caf\\xe9.jpg"]
    assert Path(url).read_bytes()[rows["offset"][0] :][: rows["length"][0]] == b"first"


def test_tar_rows_join_notes_by_key_wherever_they_stand(tmp_path: Path):
    url = shard(
        tmp_path / "s.tar",
        ("a.cls", b"7\n"),
        ("a.jpg", b"x"),
        ("b.jpg", b"x"),
        ("c.left.jpg", b"x"),
        ("c.right.jpg", b"x"),
        ("d/a.jpg", b"x"),
        ("e.jpg", b"x"),
        ("b.cls", "größe".encode()),
        ("c.json", b'{"label": 3, "class_name": "cat", "more": [1]}'),
        ("e.json", b'{"label": "three", "class_name": 5}'),
        (".x.jpg", b"x"),
    )

    rows = tar_rows([url]).to_pydict()

    assert [uri.partition("#")[2] for uri in rows["uri"]] == [
        "a.jpg", "b.jpg", "c.left.jpg", "c.right.jpg", "d/a.jpg", "e.jpg",
    ]  # fmt: skip
    assert rows["label"] == [7, None, 3, 3, None, None]
    assert rows["class_name"] == [None, "größe", "cat", "cat", None, None]


def test_tar_rows_of_many_shards_keep_their_order_and_stop_at_the_limit(tmp_path: Path):
    urls = [shard(tmp_path / f"{n}.tar", (f"{n}.jpg", b"x"), (f"{n}b.jpg", b"x")) for n in range(9)]

    assert [uri[-6:] for uri in tar_rows(urls[::-1])["uri"].to_pylist()[:4]] == [
        "#8.jpg", "8b.jpg", "#7.jpg", "7b.jpg",
    ]  # fmt: skip
    assert tar_rows([*urls[:2], "/nowhere/x.tar"], limit=3).num_rows == 4


def test_tar_rows_skip_links_and_folders(tmp_path: Path):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)

    assert tar_rows([str(tmp_path / "s.tar")]).num_rows == 0


def test_tar_rows_of_bad_shards_name_the_shard_and_the_way_out(tmp_path: Path):
    good = Path(shard(tmp_path / "good.tar", ("a.jpg", b"x" * 5000), ("b.jpg", b"y" * 5000)))
    cut, packed, junk = tmp_path / "cut.tar", tmp_path / "packed.tar", tmp_path / "junk.tar"
    cut.write_bytes(good.read_bytes()[:3000])
    packed.write_bytes(gzip.compress(good.read_bytes()))
    junk.write_bytes(b"no tar at all" * 100)

    for path, message in (
        (cut, r"cut\.tar: no readable tar"),
        (junk, r"junk\.tar: no readable tar"),
        (packed, r"packed\.tar: is compressed.*gunzip"),
        (tmp_path / "none.tar", r"none\.tar: no such tar shard"),
    ):
        with pytest.raises(DatasetError, match=message):
            tar_rows([str(path)])


@pytest.mark.parametrize(
    ("name", "note", "message"),
    [
        ("a.json", b"{broken", r"s\.tar#a\.json: no readable JSON"),
        ("a.json", b'{"label": -4}', "label -4 is no class index"),
        ("a.cls", b"99999999999", "label 99999999999 is no class index"),
    ],
)
def test_tar_rows_with_a_wrong_note_name_the_member(
    tmp_path: Path, name: str, note: bytes, message: str
):
    with pytest.raises(DatasetError, match=message):
        tar_rows([shard(tmp_path / "s.tar", ("a.jpg", b"x"), (name, note))])
