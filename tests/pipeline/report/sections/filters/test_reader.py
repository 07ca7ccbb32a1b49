from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.report.sections.filters.reader import SENTENCES, FilterReader, filter_layers
from pipeline.store import open_run
from schemas.errors import NotPublishedError, StoreError
from tests import made_up_run
from tests.filter_pictures import filters

LAYERS = {"conv1": 3, "conv2": 14}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FilterReader:
    url = made_up_run.scan(tmp_path_factory.mktemp("filters") / "run", LAYERS)
    filters(url, LAYERS, unpatterned=("conv1",))
    return FilterReader(open_run(url))


def test_read_gives_the_filters_the_strongest_first(reader: FilterReader):
    look = reader.read("conv2")
    assert [each.unit for each in look.filters] == list(range(14))
    assert [each.unit for each in look.filters if each.dead] == [made_up_run.DEAD]
    for each in look.filters:
        assert each.values.shape == (3, 5, 3)
        np.testing.assert_allclose(each.values, 1 / (each.unit + 1))
    assert look.filters[3].title == (
        "unit 3: RMS 0.25, 0.5 x the median; energy low 33.3%, middle 33.3%, high 33.3%; above the "
        "Nyquist frequency 25.0%; fires on 50.0%"
    )
    assert look.filters[made_up_run.DEAD].title.endswith("dead")


def test_read_says_what_is_known_of_the_layer(reader: FilterReader):
    look = reader.read("conv2")
    facts = dict(look.facts)
    assert facts["convolution"] == "conv2.conv"
    assert (facts["stride"], facts["dilation"], facts["groups"]) == ("2", "1 x 3", "2")
    assert facts["largest"] == "2.0 x the median"
    assert look.nyquist == "1/4 cycles per position"
    assert (look.kernel, look.scale, look.alias) == ("3 x 5", 1.0, 0.25)
    assert look.bands == (1 / 3, 1 / 3, 1 / 3)


def test_read_findings_by_kind_the_furthest_first(reader: FilterReader):
    look = reader.read("conv2")
    groups = {group.kind: group for group in look.findings}
    assert list(groups) == ["aliasing", "weak filters", "dead units"]
    assert groups["weak filters"].sentences == tuple(
        f"unit {unit} is weak" for unit in range(1, SENTENCES + 1)
    )
    assert groups["weak filters"].more == 11 - SENTENCES
    assert look.found == 13


def test_layer_of_single_weights_has_no_pattern(reader: FilterReader):
    assert reader.layers == ["conv1", "conv2"]
    assert reader.patterned() == ["conv2"]
    look = reader.read("conv1")
    assert not look.patterned
    assert look.bands is None


def test_reader_without_the_job_or_of_another_scan_is_refused(tmp_path: Path):
    run = open_run(made_up_run.scan(tmp_path / "run", LAYERS))
    assert filter_layers(run) == []
    with pytest.raises(NotPublishedError, match="filters"):
        FilterReader(run)
    filters(run.url, LAYERS, of_scan="other")
    with pytest.raises(StoreError, match="its filters were made from the scan other"):
        FilterReader(open_run(run.url))
