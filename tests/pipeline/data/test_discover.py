"""Names are made absolute, seen from their folder, and expanded in order."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from pipeline.data.discover import absolute, expand, join_relative


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_absolute_makes_local_paths_absolute_and_leaves_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    assert absolute("a/../b/") == str(tmp_path / "b")
    assert absolute(f"file://{tmp_path}/b") == str(tmp_path / "b")
    assert absolute("s3://bucket/a/../b") == "s3://bucket/a/../b"


def test_absolute_keeps_the_name_of_a_link(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert absolute(str(tmp_path / "link")) == str(tmp_path / "link")


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        ("/data", "a/b.jpg", "/data/a/b.jpg"),
        ("/data", "./a//b.jpg", "/data/a/b.jpg"),
        ("/data/lists", "../b.jpg", "/data/b.jpg"),
        ("/data", "/other/b.jpg", "/other/b.jpg"),
        ("/data", "s3://bucket/b.jpg", "s3://bucket/b.jpg"),
        ("/data", "file:///other/b.jpg", "/other/b.jpg"),
        ("s3://bucket/lists", "../b.jpg", "s3://bucket/b.jpg"),
        ("https://host/lists", "b c.jpg", "https://host/lists/b c.jpg"),
    ],
)
def test_join_relative_resolves_against_the_folder(folder: str, name: str, expected: str):
    assert join_relative(folder, name) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/x/{08..11}.tar", ["/x/08.tar", "/x/09.tar", "/x/10.tar", "/x/11.tar"]),
        ("/x/{b,a}-{0..1}.tar", ["/x/b-0.tar", "/x/b-1.tar", "/x/a-0.tar", "/x/a-1.tar"]),
        ("/x/{plain}.tar", ["/x/{plain}.tar"]),
        ("https://host/a?b={1..2}", ["https://host/a?b=1", "https://host/a?b=2"]),
    ],
)
def test_expand_of_braces_counts_and_lists(pattern: str, expected: list[str]):
    assert expand(pattern) == expected


def test_expand_of_a_glob_gives_what_is_there_in_order(tmp_path: Path, s3_url: str):
    system = fsspec.filesystem("s3")
    for name in ("b.tar", "a.tar", "c.txt", ".d.tar"):
        touch(tmp_path / name)
        system.pipe_file(f"{s3_url}/{name}", b"x")

    for root in (str(tmp_path), s3_url):
        assert expand(f"{root}/*.tar") == [f"{root}/a.tar", f"{root}/b.tar"]
        assert expand(f"{root}/[xy].tar") == []
