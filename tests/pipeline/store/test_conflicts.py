from __future__ import annotations

import pickle

from pipeline.store import JobFolder
from pipeline.store.conflicts import other_plan, other_shard, work_gone
from schemas.errors import WorkGoneError
from schemas.manifest import FileRecord, Marker, Plan, fingerprint

FOLDER = JobFolder("runs/a", "scan")


def plan(identity: dict[str, object]) -> Plan:
    return Plan(job="scan", fingerprint=fingerprint(identity), identity=identity, shards=())


def marker(sha256: str, images: int) -> Marker:
    part = FileRecord(path="p", rows=3, bytes=1, sha256=sha256)
    return Marker(shard=4, content={"part_top": part}, counts={"images": images}, seconds=1)


def test_other_plan_message_names_run_fingerprints_fields_and_way_out():
    standing = plan({"model": {"arch": "vgg16"}, "top": 9, "same": 1})
    mine = plan({"model": {"arch": "alexnet"}, "top": 16, "same": 1})

    message = str(other_plan(FOLDER, standing, mine))

    for part in ("runs/a", standing.fingerprint, mine.fingerprint, "take another run folder"):
        assert part in message
    assert "model.arch: vgg16 -> alexnet" in message
    assert "top: 9 -> 16" in message
    assert "same" not in message.partition("differs")[2].partition("take another")[0]


def test_other_plan_message_of_many_fields_is_cut():
    old = plan({f"field{i}": 0 for i in range(100)})
    new = plan({f"field{i}": 1 for i in range(100)})

    message = str(other_plan(FOLDER, old, new))

    assert message.count("0 -> 1") == 12
    assert "... and 88 more" in message


def test_other_shard_message_names_shard_and_both_hashes():
    message = str(other_shard(FOLDER, marker("a" * 64, 5), marker("b" * 64, 6)))

    for part in ("shard 4", "a" * 64, "b" * 64, "'images': 5", "'images': 6", "00004.json"):
        assert part in message


def test_work_gone_names_the_object_and_travels():
    error = pickle.loads(pickle.dumps(work_gone(FOLDER, "runs/a/scan/_work/x")))

    assert isinstance(error, WorkGoneError)
    assert "runs/a/scan/_work/x: gone" in str(error)
    assert "runs/a/scan/manifest.json" in str(error)
