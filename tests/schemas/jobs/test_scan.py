"""The scan's spec and tables: the paper's defaults, and what contradicts itself is refused."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise

import pytest
from pydantic import ValidationError

from schemas.jobs import scan
from schemas.jobs.scan import HISTOGRAM_EDGES, SCAN_REJECTS, SCAN_UNITS, ScanSpec
from schemas.tables import REJECT_REASONS
from tests.wrong_values import (
    BELOW,
    COUNT,
    PLACE,
    Wrong,
)

WRONG: dict[str, Wrong] = {
    "out": PLACE,
    "top": COUNT | {"101": BELOW},
    "batch_size": COUNT | {"65537": BELOW},
    "shard_size": COUNT | {"65": "multiple of batch_size"},
    "precision": {"fp64": "fp32, tf32, bf16", "tf32": "take fp32 or bf16"},
}  # fmt: skip
SCAN = {"model": {"arch": "zfnet"}, "data": {"uri": "photos"}, "out": "runs/a"}


def test_scan_without_more_words_has_the_paper_s_nine_patches():
    spec = ScanSpec.model_validate(SCAN)

    assert (spec.top, spec.batch_size, spec.shard_size) == (9, 64, None)
    assert (spec.precision, spec.preprocess, spec.layers.include) == ("fp32", None, ())


def test_scan_shard_size_not_a_multiple_of_the_batch_is_refused():
    with pytest.raises(ValidationError, match="shard_size 100 is not a multiple of batch_size 64"):
        ScanSpec.model_validate({**SCAN, "shard_size": 100})
    assert ScanSpec.model_validate({**SCAN, "shard_size": 128}).shard_size == 128


@pytest.mark.parametrize("top", [0, 101])
def test_scan_top_outside_its_range_is_refused(top: int):
    with pytest.raises(ValidationError) as raised:
        ScanSpec.model_validate({**SCAN, "top": top})

    assert raised.value.errors()[0]["loc"] == ("top",)


def test_scan_tf32_needs_a_gpu():
    with pytest.raises(ValidationError, match="tf32 needs device cuda"):
        ScanSpec.model_validate({**SCAN, "precision": "tf32"})
    on_gpu = {**SCAN, "precision": "tf32", "resources": {"device": "cuda"}}
    assert ScanSpec.model_validate(on_gpu).precision == "tf32"
    assert ScanSpec.model_validate({**SCAN, "precision": "bf16"}).precision == "bf16"


def test_histogram_edges_are_half_octaves_around_zero():
    positive = [edge for edge in HISTOGRAM_EDGES if edge > 0]

    assert (positive[0], positive[-1]) == (2.0**-10, 2.0**10)
    assert all(math.isclose(b / a, math.sqrt(2), rel_tol=1e-12) for a, b in pairwise(positive))
    assert list(HISTOGRAM_EDGES) == [*(-edge for edge in reversed(positive)), 0.0, *positive]


def test_histogram_has_the_bins_that_its_text_counts():
    bins = len(HISTOGRAM_EDGES) + 1

    assert bins == 84
    assert HISTOGRAM_EDGES.index(0.0) == len(HISTOGRAM_EDGES) // 2
    assert "84 bins in all" in " ".join(_text_after("HISTOGRAM_EDGES").split())


def test_histogram_column_carries_its_edges():
    metadata = SCAN_UNITS.schema.field("histogram").metadata

    assert tuple(json.loads(metadata[b"edges"])) == HISTOGRAM_EDGES


def test_reject_reasons_are_short_codes_that_the_column_lists():
    told = SCAN_REJECTS.schema.field("reason").metadata[b"description"].decode()

    assert told.removeprefix("a short code: ").split(", ") == list(REJECT_REASONS)
    assert all(re.fullmatch(r"[a-z_]{1,15}", code) for code in REJECT_REASONS)
    assert all(REJECT_REASONS.values())


def _text_after(name: str) -> str:
    source = scan.__loader__.get_source("schemas.jobs.scan")
    return source.split(f"{name}: ")[1].split('"""')[1]
