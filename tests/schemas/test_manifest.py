"""One value, one fingerprint, in every process; what has no stable form is refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.manifest import (
    SCHEMA_VERSION,
    FileRecord,
    Manifest,
    Marker,
    Plan,
    Provenance,
    Record,
    Shard,
    canonical_json,
    differences,
    fingerprint,
)

IDENTITY = {
    "top": 9,
    "model": {"arch": "zfnet", "seed": None, "mean": (0.5, 1e-07, 1.0)},
    "layers": ["relu1", "größe"],
    "masked": True,
}
CANONICAL = (
    r'{"layers":["relu1","gr\u00f6\u00dfe"],"masked":true,'
    r'"model":{"arch":"zfnet","mean":[0.5,1e-07,1.0],"seed":null},"top":9}'
)
PART = FileRecord(path="part_top/0-a1.parquet", rows=3, bytes=99, sha256="0" * 64)
MARKER = Marker(shard=0, content={"part_top": PART}, counts={"images": 3}, seconds=1.5)
PLAN = Plan(
    job="scan",
    fingerprint=fingerprint({"top": 9}),
    identity={"top": 9},
    shards=(Shard(index=0, start=0, stop=4), Shard(index=1, start=4, stop=6, excluded=(5,))),
)
PROVENANCE = Provenance(
    created_at="2026-11-24T00:00:00Z",
    argv=("unitscope", "scan"),
    unitscope_version="0.1.0",
    git_commit=None,
    git_dirty=None,
    python="3.11",
    versions={"torch": "2.15"},
    platform="linux",
    device="cpu",
)
MANIFEST = Manifest(
    job="scan",
    fingerprint=PLAN.fingerprint,
    identity={"top": 9},
    spec={"out": "runs/a", "layers": ["relu1"]},
    tables={"images": (PART,)},
    counts={"images": 3},
    provenance=PROVENANCE,
)
EVERY = pytest.mark.parametrize(
    "record", [PART, MARKER, PLAN, PROVENANCE, MANIFEST], ids=lambda record: type(record).__name__
)

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
stable = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
identities = st.dictionaries(st.sampled_from("abc"), stable, max_size=3)


def test_canonical_json_of_an_identity_has_the_one_form():
    assert canonical_json(IDENTITY) == CANONICAL


def test_fingerprint_is_the_sha256_of_the_canonical_form():
    assert fingerprint(IDENTITY) == hashlib.sha256(CANONICAL.encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_fingerprint_in_another_process_is_the_same(hash_seed: str, tmp_path: Path):
    code = (
        "import ast, sys; from schemas.manifest import fingerprint;"
        "print(fingerprint(ast.literal_eval(sys.argv[1])))"
    )
    root = str(Path(__file__).parents[2])

    done = subprocess.run(
        [sys.executable, "-c", code, repr(IDENTITY)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == fingerprint(IDENTITY)


def test_fingerprint_whatever_the_order_of_keys_is_the_same():
    assert fingerprint(dict(reversed(IDENTITY.items()))) == fingerprint(IDENTITY)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({1, 2}, r"\$\.a\[1\]: set"),
        (lambda: 0, r"\$\.a\[1\]: function"),
        (b"bytes", r"\$\.a\[1\]: bytes"),
        (Path("a"), r"\$\.a\[1\]: PosixPath"),
        (object(), r"\$\.a\[1\]: object"),
        ({3: "a"}, r"\$\.a\[1\]: the key 3"),
    ],
)
def test_fingerprint_of_a_value_without_a_stable_form_is_refused(value: object, place: str):
    with pytest.raises(TypeError, match=place):
        fingerprint({"a": [0, value]})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_fingerprint_of_a_number_that_is_not_finite_is_refused(value: float):
    with pytest.raises(ValueError, match=r"\$\.a\.b: .* is not finite"):
        fingerprint({"a": {"b": value}})


@given(stable)
def test_canonical_json_read_back_gives_the_same_form(value: object):
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


def test_differences_name_each_field_with_both_values():
    old = {"top": 9, "model": {"arch": "zfnet", "seed": 0}, "layers": ["a"], "same": 1}
    new = {"top": 16, "model": {"arch": "zfnet", "seed": 1}, "layers": ["a", "b"], "same": 1}

    assert differences(old, new) == [
        "layers: ['a'] -> ['a', 'b']",
        "model.seed: 0 -> 1",
        "top: 9 -> 16",
    ]


def test_differences_name_a_field_that_only_one_side_has():
    assert differences({"a": 1}, {"b": {"c": 2}}) == ["a: 1 -> absent", "b: absent -> {'c': 2}"]


def test_differences_tell_null_from_absent():
    assert differences({"a": None}, {}) == ["a: None -> absent"]


def test_differences_of_a_plan_and_its_json_are_none():
    assert differences(IDENTITY, json.loads(json.dumps(IDENTITY))) == []


@given(identities, identities)
def test_differences_are_none_exactly_where_fingerprints_are_equal(old: dict, new: dict):
    assert (differences(old, new) == []) == (fingerprint(old) == fingerprint(new))


@EVERY
def test_record_through_json_comes_back_equal(record: Record):
    assert type(record).model_validate_json(record.model_dump_json()) == record


@EVERY
def test_record_with_an_unknown_field_is_refused(record: Record):
    with pytest.raises(ValidationError, match="Extra inputs"):
        type(record).model_validate({**record.model_dump(), "colour": "red"})


@EVERY
def test_record_when_mutated_refuses(record: Record):
    for name in type(record).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(record, name, None)


def test_manifest_carries_the_schema_version():
    assert MANIFEST.schema_version == SCHEMA_VERSION == 1


@pytest.mark.parametrize(
    "change",
    [
        {"content": {"part_top": PART.model_copy(update={"rows": 4})}},
        {"content": {"part_top": PART.model_copy(update={"sha256": "1" * 64})}},
        {"content": {"part_units": PART}},
        {"content": {}},
        {"counts": {"images": 4}},
    ],
)
def test_markers_of_other_rows_differ(change: dict[str, object]):
    assert not MARKER.same_content(MARKER.model_copy(update=change))


@pytest.mark.parametrize(
    "change",
    [{"seconds": 99.0}, {"content": {"part_top": PART.model_copy(update={"path": "0-b2"})}}],
)
def test_markers_of_another_attempt_at_the_same_rows_agree(change: dict[str, object]):
    assert MARKER.same_content(MARKER.model_copy(update=change))
