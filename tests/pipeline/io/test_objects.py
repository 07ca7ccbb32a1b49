from __future__ import annotations

import errno
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from pipeline.io import objects
from schemas.errors import SpecError, StoreError, UnsafeStoreError

KINDS = ["path", "file", "memory", "s3"]


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder in one kind of store."""
    if request.param == "s3":
        return request.getfixturevalue("s3_url") + "/a"
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"file://{tmp_path}" if request.param == "file" else str(tmp_path)


everywhere = pytest.mark.parametrize("folder", KINDS, indirect=True)


def test_join_has_single_slashes():
    assert objects.join("s3://b/a/", "/x/", "y") == "s3://b/a/x/y"
    assert objects.join("runs", "a") == "runs/a"
    assert objects.join("/", "a") == "/a"


@pytest.mark.parametrize("name", ["a::b.jpg", "zip::c.jpg", "file:"])
def test_read_of_a_local_file_named_like_a_url_reads_that_file(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"own")

    assert objects.read(f"{tmp_path}/{name}") == b"own"


@everywhere
def test_put_once_then_read_gives_the_first_content(folder: str):
    url = objects.join(folder, "x", "a.bin")

    assert objects.put_once(url, b"0123456789") == b"0123456789"
    assert objects.put_once(url, b"other") == b"0123456789"
    assert objects.read(url) == b"0123456789"
    assert objects.read(url, 2, 5) == b"234"
    assert objects.read(url, 7) == b"789"
    assert objects.read(url, 3, 3) == b""
    assert objects.size(url) == 10


@everywhere
def test_read_of_an_absent_object_is_file_not_found(folder: str):
    with pytest.raises(FileNotFoundError):
        objects.read(objects.join(folder, "absent"))
    with pytest.raises(FileNotFoundError):
        objects.size(objects.join(folder, "absent"))


@everywhere
def test_exists_and_lists_follow_every_put_and_delete(folder: str):
    url = objects.join(folder, "a")
    seen = []
    for change in (lambda: None, lambda: objects.put_once(url, b"1"), lambda: objects.delete(url)):
        change()
        seen.append((objects.exists(url), objects.list_names(folder)))

    assert seen == [(False, []), (True, ["a"]), (False, [])]


def test_lists_follow_what_another_process_puts_and_deletes(s3_url: str):
    other = fsspec.filesystem("s3", skip_instance_cache=True)
    seen = []
    for change in (lambda: None, lambda: other.pipe_file(f"{s3_url}/x/a", b"1")):
        change()
        seen.append((objects.exists(f"{s3_url}/x/a"), objects.list_names(f"{s3_url}/x")))
    objects.put_once(f"{s3_url}/x/b", b"1")
    seen.append((objects.exists(f"{s3_url}/x/a"), objects.list_names(f"{s3_url}/x")))
    other.rm_file(f"{s3_url}/x/a")
    seen.append((objects.exists(f"{s3_url}/x/a"), objects.list_names(f"{s3_url}/x")))

    assert seen == [(False, []), (True, ["a"]), (True, ["a", "b"]), (False, ["b"])]


@everywhere
def test_lists_are_sorted_and_one_level_deep(folder: str):
    for name in ("b", "a", "c/d", "e/f/g"):
        objects.put_once(objects.join(folder, name), b"1")

    assert objects.list_names(folder) == ["a", "b"]
    assert objects.list_folders(folder) == ["c", "e"]
    assert objects.list_names(objects.join(folder, "absent")) == []
    assert not objects.exists(objects.join(folder, "c"))


@everywhere
def test_delete_tree_removes_only_what_is_below(folder: str):
    keep = [objects.join(folder, name) for name in ("w1/x", "wb/x", "z")]
    gone = [objects.join(folder, name) for name in ("w[1b]/x", "w[1b]/y/z")]
    for url in keep + gone:
        objects.put_once(url, b"1")

    objects.delete_tree(objects.join(folder, "w[1b]"))
    objects.delete_tree(objects.join(folder, "w[1b]"))

    assert [objects.exists(url) for url in keep] == [True] * 3
    assert [objects.exists(url) for url in gone] == [False] * 2


@everywhere
def test_delete_of_an_absent_object_is_fine(folder: str):
    objects.delete(objects.join(folder, "absent"))


@everywhere
def test_probe_of_a_safe_store_passes_and_leaves_nothing(folder: str):
    objects.probe(folder)

    assert objects.list_names(folder) == []


@pytest.mark.parametrize("folder", ["path", "s3"], indirect=True)
def test_put_once_by_eight_threads_has_one_winner(folder: str):
    def put(me: int, name: str) -> bool:
        data = str(me).encode() * 100
        return objects.put_once(objects.join(folder, name), data) is data

    with ThreadPoolExecutor(8) as pool:
        for name in ("a", "b", "c", "d"):
            won = list(pool.map(put, range(8), [name] * 8))
            assert won.count(True) == 1
            stands = objects.read(objects.join(folder, name))
            assert stands == str(won.index(True)).encode() * 100


@pytest.mark.parametrize("lost", [1, 2])
def test_put_once_whose_answer_was_lost_finds_its_own_content(
    s3_server: Any, s3_url: str, lost: int
):
    s3_server.lose_answers = lost

    assert objects.put_once(f"{s3_url}/a", b"mine") == b"mine"
    assert s3_server.lose_answers < lost
    assert objects.read(f"{s3_url}/a") == b"mine"


def test_read_from_a_server_that_is_briefly_away_succeeds(s3_server: Any, s3_url: str):
    objects.put_once(f"{s3_url}/a", b"1")
    s3_server.refuse = 2

    assert objects.read(f"{s3_url}/a") == b"1"
    assert s3_server.refuse == 0


def test_put_once_larger_than_one_request_is_put_once_too(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
):
    s3fs = pytest.importorskip("s3fs")
    real = s3fs.S3FileSystem._pipe_file

    async def in_parts(self: object, path: str, data: bytes, **options: object) -> object:
        return await real(self, path, data, chunksize=5 * 2**20, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_pipe_file", in_parts)
    first, second = b"1" * (11 * 2**20), b"2" * (11 * 2**20)

    assert objects.put_once(f"{s3_url}/a", first) is first
    assert objects.put_once(f"{s3_url}/a", second) == first


@pytest.mark.usefixtures("s3_server")
def test_put_once_into_no_bucket_names_the_place():
    with pytest.raises(StoreError, match=r"s3://no-such-bucket-here/a: cannot be written"):
        objects.put_once("s3://no-such-bucket-here/a", b"1")


def test_put_once_without_permission_names_the_place(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"file/a: cannot be written: \w+"):
        objects.put_once(str(tmp_path / "file" / "a"), b"1")


@pytest.mark.parametrize("action", [objects.delete, objects.exists, objects.list_names])
def test_refusal_of_the_file_system_names_the_place_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Callable[[str], object]
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(Path, "is_file", refuse)
    monkeypatch.setattr(objects.local, "list_entries", refuse)

    with pytest.raises(StoreError, match=r"/a: cannot be \w+.*Read-only.*give access"):
        action(str(tmp_path / "a"))


def test_probe_where_nothing_can_be_written_says_so_and_not_that_nothing_can_be_deleted(
    tmp_path: Path,
):
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="cannot be written"):
        objects.probe(str(tmp_path / "file"))


def test_put_once_of_a_name_deleted_meanwhile_puts_it(monkeypatch: pytest.MonkeyPatch):
    url = f"memory://{uuid.uuid4().hex}/a"
    objects.put_once(url, b"old")
    real = objects.read

    def deleted_first(target: str) -> bytes:
        objects.delete(target)
        return real(target)

    monkeypatch.setattr(objects, "read", deleted_first)

    assert objects.put_once(url, b"new") == b"new"


def test_probe_of_a_server_that_ignores_the_condition_is_refused(s3_server: Any, s3_url: str):
    s3_server.ignore_condition = True

    with pytest.raises(UnsafeStoreError, match=f"{s3_url}/a: the store ignored"):
        objects.probe(f"{s3_url}/a")
    assert objects.list_names(f"{s3_url}/a") == []


class Overwriting(MemoryFileSystem):
    """Takes the mode and overwrites all the same."""

    protocol = "overwriting"
    cachable = False

    def pipe_file(self, path: str, value: bytes, **_: object) -> None:
        super().pipe_file(path, value, mode="overwrite")


class Looking(MemoryFileSystem):
    """Has only fsspec's own put, which looks first and then writes."""

    protocol = "looking"
    cachable = False
    pipe_file = AbstractFileSystem.pipe_file


class Plain412(MemoryFileSystem):
    """Says 412 in a general error, as s3fs does of servers that do not name the condition."""

    protocol = "plain412"
    cachable = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        try:
            super().pipe_file(path, value, mode=mode)
        except FileExistsError:
            cause = Exception("client error")
            cause.response = {"ResponseMetadata": {"HTTPStatusCode": 412}}
            raise OSError(errno.EINVAL, "At least one pre-condition did not hold") from cause


def test_put_once_refused_by_a_plain_412_gives_what_stands():
    fsspec.register_implementation("plain412", Plain412, clobber=True)
    url = f"plain412://{uuid.uuid4().hex}/a"

    assert objects.put_once(url, b"first") == b"first"
    assert objects.put_once(url, b"second") == b"first"


class Ignorant(MemoryFileSystem):
    """Knows no mode."""

    protocol = "ignorant"
    cachable = False

    def pipe_file(self, path: str, value: bytes) -> None:
        super().pipe_file(path, value)


@pytest.mark.parametrize("driver", [Overwriting, Looking, Ignorant])
def test_probe_of_an_unsafe_driver_is_refused(driver: type[AbstractFileSystem]):
    fsspec.register_implementation(driver.protocol, driver, clobber=True)

    with pytest.raises(UnsafeStoreError, match=rf"{driver.protocol}://x/a.*take a run folder"):
        objects.probe(f"{driver.protocol}://x/a")


@pytest.mark.parametrize(
    "action", [objects.read, objects.exists, objects.list_names, objects.delete_tree]
)
def test_url_of_an_unknown_kind_is_a_spec_error(action: Callable[[str], object]):
    with pytest.raises(SpecError, match="no driver for this kind of URL"):
        action("nowhere://bucket/a")


def test_exists_of_a_server_that_is_away_is_not_false(s3_server: Any, s3_url: str):
    objects.put_once(f"{s3_url}/a", b"1")
    s3_server.refuse = 2

    assert objects.exists(f"{s3_url}/a")


def test_sweep_temporary_of_a_local_folder_removes_what_a_kill_left(tmp_path: Path):
    (tmp_path / ".tmp-1").touch()

    objects.sweep_temporary(f"file://{tmp_path}")

    assert list(tmp_path.iterdir()) == []
