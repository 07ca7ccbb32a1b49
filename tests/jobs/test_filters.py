"""The filters behind a scan's layers: numbers from the weights, what repeats, what is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tests.tiny_nets as nets
from jobs import engine
from jobs.filters import summary
from pipeline.analysis.filters import GRID
from pipeline.store import open_run
from schemas.errors import LayerError, ModelError, PlanMismatchError
from schemas.jobs.filters import FiltersSpec
from schemas.jobs.scan import ScanSpec
from tests.filters_reference import shares, spectrum_by_fft

MakeSpec = Callable[..., ScanSpec]
Digests = Callable[[str | Path], dict[str, str]]
DATA = {"max_reject_fraction": 0.1}
TABLES = ("filters", "filter_layers", "findings")


@pytest.fixture(scope="module")
def scan_of(spec_at: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Publishes a scan of one of `tiny_nets` into a folder of its own."""

    def make(net: str, **changes: object) -> Path:
        run = tmp_path_factory.mktemp(net) / "run"
        engine.run(spec_at(run, net=net, data={"limit": 12, "max_reject_fraction": 0.5}, **changes))
        return run

    return make


def _spec(run: Path, **changes: object) -> FiltersSpec:
    fields = {"run": str(run), "resources": {"local": True, "threads": 1}}
    return FiltersSpec.model_validate(fields | changes)


def _table(run: Path, name: str) -> pd.DataFrame:
    return open_run(str(run)).table(name, job="filters")


def test_filters_are_those_of_the_network_in_numbers_and_pictures(scan_of: Callable[..., Path]):
    run = scan_of("small", layers={"include": ["*1", "relu2", "fc"]})
    manifest = engine.run(_spec(run))

    assert manifest.identity["left_out"] == {"fc": "fc (linear) makes its units"}
    said = summary(_spec(run), manifest)
    assert "left out: 1, the first: fc: fc (linear) makes its units" in said.warnings[0]
    layers = _table(run, "filter_layers").set_index("layer")
    behind = {"conv1": "conv1", "relu1": "conv1", "pool1": "conv1", "relu2": "conv2"}
    assert layers["convolution"].to_dict() == behind
    assert layers["colour"].tolist() == [True, True, True, False]
    window = ["stride_y", "stride_x", "kernel_height", "in_channels"]
    assert layers.loc["relu2", window].tolist() == [2, 2, 3, 6]
    rows = _table(run, "filters")
    net = nets.small()
    for layer, conv in behind.items():
        weights = net.get_submodule(conv).weight.detach().double().numpy()
        own = rows[rows["layer"] == layer].reset_index(drop=True)
        rms = np.sqrt((weights**2).mean(axis=(1, 2, 3)))
        np.testing.assert_allclose(own["rms"], rms, rtol=1e-12)
        np.testing.assert_allclose(own["dominance"], rms / np.median(rms), rtol=1e-12)
        stride = (int(layers["stride_y"][layer]), int(layers["stride_x"][layer]))
        wanted = [shares(spectrum_by_fft(each, (1, 1), GRID), stride) for each in weights]
        names = ["low", "middle", "high", "alias_share"]
        np.testing.assert_allclose(own[names], wanted, rtol=0, atol=1e-13)
        drawn = weights.transpose(0, 2, 3, 1) if conv == "conv1" else weights.mean(axis=1)
        for row, values in zip(own.itertuples(), drawn, strict=True):
            pixels = np.asarray(Image.open(io.BytesIO(row.picture["bytes"]))).astype(float)
            assert (
                np.abs((pixels - 128) / 127 * row.scale - values).max() <= 0.501 / 127 * row.scale
            )
        assert layers["scale"][layer] == own["scale"].max()


def test_filters_that_are_dead_or_zero_are_found(scan_of: Callable[..., Path]):
    run = scan_of("wounded")
    engine.run(_spec(run, near_dead=0.5))
    [unit] = _table(run, "filters").query("layer == 'relu2' and dead").to_dict("records")
    assert unit["unit"] == 3
    assert (unit["rms"], unit["dominance"], unit["active_share"], unit["scale"]) == (0, 0, 0, 0)
    assert pd.isna(unit["alias_share"])
    assert unit["findings"] == "dead,weak"
    found = _table(run, "findings").query("layer == 'relu2' and unit == 3")
    assert found["sentence"].tolist() == [
        "unit 3 is dead: it fires on none of 11 images",
        "unit 3's filter is all 0",
    ]
    layers = _table(run, "filter_layers").set_index("layer")
    assert layers["dead"].to_dict() == {"relu1": 0, "relu2": 1}


@pytest.mark.parametrize("net", ["poisoned", "infinite"])
def test_filters_with_weights_that_are_not_finite_are_named(scan_of: Callable[..., Path], net: str):
    run = scan_of(net)
    engine.run(_spec(run))
    rows = _table(run, "filters").query("layer == 'relu1'")
    ill = rows["unit"] == 2
    for name in ("rms", "dominance", "low", "alias_share"):
        assert rows[name].isna().tolist() == ill.tolist(), name
    layers = _table(run, "filter_layers").set_index("layer")
    assert layers["not_finite"].to_dict() == {"relu1": 1, "relu2": 0}
    found = _table(run, "findings")
    assert "unit 2 has 1 weight that is NaN or infinite" in found["sentence"].tolist()


def test_filters_killed_and_resumed_give_the_same_tables(
    scan_of: Callable[..., Path], digests: Digests
):
    runs = [scan_of("small", layers={"include": ["conv*", "relu*"]}) for _ in range(2)]
    engine.run(_spec(runs[0]))
    code = (
        "import sys; from jobs import engine; from schemas.jobs.filters import FiltersSpec;"
        "engine.run(FiltersSpec.model_validate_json(sys.argv[1]))"
    )
    environment = os.environ | {
        "PYTHONPATH": str(Path(engine.__file__).parents[1]),
        "UNITSCOPE_CRASH_AT": "marker-put:2",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, _spec(runs[1]).model_dump_json()], env=environment, check=False
    )

    assert done.returncode != 0
    assert 1 <= len(list((runs[1] / "filters" / "_work" / "done").glob("*.json"))) < 4
    engine.run(_spec(runs[1]))
    for table in TABLES:
        assert digests(runs[0] / "filters" / table) == digests(runs[1] / "filters" / table)


def test_filters_that_cannot_be_looked_at_begin_nothing(scan_of: Callable[..., Path]):
    run = scan_of("small")
    with pytest.raises(LayerError, match=r"no convolution makes the units of fc: fc \(linear\)"):
        engine.run(_spec(run, layers={"include": ["fc"]}))
    with pytest.raises(LayerError, match="rellu1"):
        engine.run(_spec(run, layers={"include": ["rellu1"]}))
    forked = scan_of("forked", layers={"exclude": ["dark"]})
    with pytest.raises(ModelError, match="can be traced alone; Forked cannot be traced"):
        engine.run(_spec(forked))
    assert not (run / "filters").exists()
    assert not (forked / "filters").exists()


def test_filters_with_another_threshold_are_another_plan(scan_of: Callable[..., Path]):
    run = scan_of("small")
    engine.run(_spec(run))
    engine.run(_spec(run))
    with pytest.raises(PlanMismatchError, match="dominant"):
        engine.run(_spec(run, dominant=2))
