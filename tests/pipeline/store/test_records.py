from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.store import JobFolder
from pipeline.store.records import put_record, put_same, read_manifest, read_record, sha256
from schemas.errors import ContentConflictError, StoreError
from schemas.manifest import Plan, Shard

PLAN = Plan(
    job="scan",
    fingerprint="f",
    identity={"a": [1, 2.5, None, "größe"]},
    shards=(Shard(index=0, start=0, stop=3, excluded=(1,)),),
)


def test_sha256_is_the_standard_one():
    assert sha256(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_put_record_then_read_record_is_equal(tmp_path: Path):
    url = str(tmp_path / "plan.json")

    assert read_record(url, Plan) is None
    assert put_record(url, PLAN) == PLAN
    assert read_record(url, Plan) == PLAN


def test_put_record_where_another_stands_gives_that_one(tmp_path: Path):
    url = str(tmp_path / "plan.json")
    put_record(url, PLAN)

    assert put_record(url, PLAN.model_copy(update={"fingerprint": "g"})) == PLAN


def test_put_same_where_other_content_stands_names_both_hashes(tmp_path: Path):
    url, folder = str(tmp_path / "a"), JobFolder(str(tmp_path), "scan")
    put_same(url, b"one", folder)
    put_same(url, b"one", folder)

    with pytest.raises(ContentConflictError) as caught:
        put_same(url, b"two", folder)
    assert all(part in str(caught.value) for part in (url, sha256(b"one"), sha256(b"two")))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"job": "scan"}', b"\xff"])
def test_read_of_a_damaged_record_names_it(tmp_path: Path, content: bytes):
    folder = JobFolder(str(tmp_path), "scan")
    Path(folder.url).mkdir()
    Path(folder.manifest).write_bytes(content)

    with pytest.raises(StoreError, match=r"manifest\.json: not a Plan of this release"):
        read_record(folder.manifest, Plan)
    with pytest.raises(StoreError, match=r"manifest\.json: not a manifest"):
        read_manifest(folder)


def test_read_record_without_permission_is_a_store_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(StoreError, match="plan: cannot be read"):
        read_record(str(tmp_path / "plan"), Plan)
