"""The same files give the same names in the same order, and no link leads out."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from pipeline.io.browse import Folder, find_files, find_matches, kind_of, open_stream
from schemas.errors import SpecError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_find_files_sorts_by_code_point_and_skips_hidden(tmp_path: Path):
    names = ["b.jpg", "B.jpg", "a/z.jpg", "a-b/c.jpg", "é.jpg", "a/10.jpg", "a/9.jpg", "Z/1.jpg"]
    for name in [*names, ".hidden.jpg", ".git/x.jpg", "a/.x.jpg"]:
        touch(tmp_path / name)

    found = find_files(str(tmp_path))

    expected = ("B.jpg", "Z/1.jpg", "a-b/c.jpg", "a/10.jpg", "a/9.jpg", "a/z.jpg", "b.jpg", "é.jpg")
    assert found == Folder(str(tmp_path), expected)


def test_find_files_follows_links_inside_and_counts_those_out(tmp_path: Path):
    root, outside = tmp_path / "root", tmp_path / "root-other"
    touch(root / "a" / "1.jpg")
    touch(outside / "2.jpg")
    (root / "alias.jpg").symlink_to(root / "a" / "1.jpg")
    (root / "b").symlink_to(root / "a")
    (root / "a" / "loop").symlink_to(root)
    (root / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (root / "out").symlink_to(outside)
    (root / "out.jpg").symlink_to(outside / "2.jpg")

    found = find_files(str(root))

    assert found.names == ("a/1.jpg", "alias.jpg", "b/1.jpg", "gone.jpg")
    assert found.links_outside == 2


def test_find_files_lists_a_link_to_itself_and_nothing_that_could_be_waited_on(tmp_path: Path):
    touch(tmp_path / "a.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "to-pipe.jpg").symlink_to("pipe.jpg")

    assert find_files(str(tmp_path)).names == ("a.jpg", "loop.jpg")


def test_find_files_below_a_link_given_as_root_stays_inside_it(tmp_path: Path):
    touch(tmp_path / "real" / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert find_files(str(tmp_path / "link")) == Folder(str(tmp_path / "link"), ("a.jpg",))


def test_find_files_on_s3_gives_the_same_names(s3_url: str):
    system = fsspec.filesystem("s3")
    for name in ("b.jpg", "B.jpg", "a/z.jpg", "a-b/c.jpg", ".x.jpg", "a/.y/z.jpg"):
        system.pipe_file(f"{s3_url}/set/{name}", b"x")

    found = find_files(f"{s3_url}/set/")

    assert found == Folder(f"{s3_url}/set", ("B.jpg", "a-b/c.jpg", "a/z.jpg", "b.jpg"))


def test_kind_of_tells_file_folder_and_nothing(tmp_path: Path, s3_url: str):
    touch(tmp_path / "a" / "b.jpg")
    fsspec.filesystem("s3").pipe_file(f"{s3_url}/a/b.jpg", b"x")

    for root in (str(tmp_path), s3_url):
        assert kind_of(f"{root}/a/b.jpg") == "file"
        assert kind_of(f"{root}/a") == "folder"
        assert kind_of(f"{root}/c") == "nothing"
    assert kind_of(f"{s3_url}-none") == "nothing"


def test_kind_of_an_unknown_kind_of_url_names_the_way_out():
    with pytest.raises(SpecError, match="install its fsspec package"):
        kind_of("nosuch://bucket/a")


def test_find_matches_of_a_local_pattern_skips_hidden_and_goes_down(tmp_path: Path):
    for name in ("b.tar", "a.tar", "c.txt", ".d.tar", "sub/e.tar"):
        touch(tmp_path / name)

    assert find_matches(f"{tmp_path}/*.tar") == [f"{tmp_path}/a.tar", f"{tmp_path}/b.tar"]
    assert find_matches(f"{tmp_path}/**/e.tar") == [f"{tmp_path}/sub/e.tar"]


def test_open_stream_reads_any_store_from_its_beginning(tmp_path: Path, s3_url: str):
    touch(tmp_path / "a")
    fsspec.filesystem("s3").pipe_file(f"{s3_url}/a", b"x")

    for root in (str(tmp_path), s3_url):
        with open_stream(f"{root}/a") as file:
            assert file.read() == b"x"
        with pytest.raises(FileNotFoundError):
            open_stream(f"{root}/b").read()
