"""The invariance of a scan's layers: the definitions, what repeats, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
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
from pipeline.store import open_run
from schemas.errors import DatasetError, LayerError, PlanMismatchError, SpecError
from schemas.jobs.invariance import InvarianceSpec
from schemas.jobs.scan import ScanSpec
from schemas.moves import Move
from tests import moved_reference as reference

MakeSpec = Callable[..., ScanSpec]
Digests = Callable[[str | Path], dict[str, str]]
TABLES = ("responses", "pictures", "curves", "areas")
LAYERS = ("relu1", "relu2")
FRAME = {"preprocess": {"resize_px": 17, "crop_px": 11}}
DATA = {"data": {"max_reject_fraction": 0.1}}
MEAN_COLOUR = (124, 116, 104)


@pytest.fixture(scope="module")
def scanned(spec_at: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published scan, whose frame is the middle of the resized picture."""
    home = tmp_path_factory.mktemp("scanned")
    engine.run(spec_at(home / "run", **FRAME, **DATA))
    return home / "run"


@pytest.fixture
def run(scanned: Path, tmp_path: Path) -> Path:
    """The scan alone, in a folder of the test's own."""
    shutil.copytree(scanned / "scan", tmp_path / "run" / "scan")
    return tmp_path / "run"


def _spec(run: Path, **changes: object) -> InvarianceSpec:
    fields = {
        "run": str(run),
        "images": {"ids": [3, 25]},
        "layers": {"include": list(LAYERS)},
        "translation_px": "-4..4/2",
        "scale": "1..1.8/0.4",
        "rotation_degrees": "0..300/60",
        "resources": {"local": True, "threads": 1},
    }
    return InvarianceSpec.model_validate(fields | changes)


def _rows(run: Path, table: str = "responses") -> pd.DataFrame:
    return open_run(str(run)).table(table, job="invariance")


def _rounded(frame: reference.Frame) -> tuple[np.ndarray, bool]:
    """The frame in whole levels, and whether no value lies halfway between two of them."""
    halfway = np.abs(frame.values % 1 - 0.5).min() < 1e-4
    return np.rint(frame.values), not halfway


def test_invariance_equals_the_definition(run: Path):
    spec = _spec(run, scale="1..1.9/0.3", rotation_degrees="0..350/25")

    manifest = engine.run(spec)

    rows = _rows(run)
    assert manifest.counts["moves"] == len(rows) // 2 == 2 * len(spec.moves)
    net, clear_rows = nets.small(), 0
    for (image_id, uri), group in rows.groupby(["image_id", "uri"]):
        pixels = np.asarray(Image.open(str(uri)).convert("RGB")).transpose(2, 0, 1)
        frame = reference.moved(pixels, (17, 17), 11, ("translation", 0), MEAN_COLOUR)
        levels, plain_clear = _rounded(frame)
        plain, p_plain = reference.responses(net, levels, LAYERS)
        target = int(image_id > 20)
        assert set(group["target"]) == {target}
        for row in group.itertuples():
            move = (row.transform, row.amount)
            frame = reference.moved(pixels, (17, 17), 11, move, MEAN_COLOUR)
            levels, clear = _rounded(frame)
            values, p = reference.responses(net, levels, LAYERS)
            place = LAYERS.index(row.layer)
            distance = np.sqrt(((values[place] - plain[place]) ** 2).sum())
            norm = np.sqrt((plain[place] ** 2).sum())
            # A value halfway between two levels may be rounded to the other one: one of 363.
            near = {"rel": 1e-5 if clear and plain_clear else 1e-2, "abs": 1e-12}
            clear_rows += clear and plain_clear
            assert row.filled_share == frame.filled
            assert row.distance == pytest.approx(distance, **near)
            assert row.relative_distance == pytest.approx(distance / norm, **near)
            assert row.p_target == pytest.approx(p[target], **near)
            assert row.p_plain == pytest.approx(p_plain[target], **near)
            assert (row.predicted, row.predicted_plain) == (p.argmax(), p_plain.argmax())
    assert clear_rows > len(rows) / 4


def test_curves_and_areas_sum_up_the_responses(run: Path):
    engine.run(_spec(run, images={"ids": [3, 4, 5, 25, 26]}, fill="black"))

    rows = _rows(run)
    keys = ["transform", "amount", "layer"]
    curves = _rows(run, "curves")
    assert curves[keys].values.tolist() == rows[keys].head(len(curves)).values.tolist()
    for row in curves.to_dict("records"):
        own = rows[(rows[keys] == [row[key] for key in keys]).all(axis=1)]
        assert row["images"] == len(own) == 5
        columns = {"distance": "distance", "relative": "relative_distance", "p_target": "p_target"}
        for name, column in columns.items():
            values = sorted(own[column])
            assert row[f"{name}_mean"] == pytest.approx(sum(values) / 5, rel=1e-12)
            assert [row[f"{name}_low"], row[f"{name}_high"]] == [values[1], values[3]]
        assert row["filled_share"] == pytest.approx(own["filled_share"].mean())
    areas = _rows(run, "areas")
    assert areas[["transform", "layer"]].values.tolist() == [
        [name, layer] for name in ("rotation", "scale", "translation") for layer in LAYERS
    ]
    for row in areas.itertuples():
        own = rows[(rows["transform"] == row.transform) & (rows["layer"] == row.layer)]
        own = own[[not Move(row.transform, each).is_identity for each in own["amount"]]]
        assert row.steps * 5 == len(own)
        by_image = sorted(own.groupby("image_id")["relative_distance"].mean())
        assert row.area_mean == pytest.approx(np.mean(by_image), rel=1e-12)
        assert [row.area_low, row.area_high] == pytest.approx([by_image[1], by_image[3]])
        assert row.p_plain == pytest.approx(own["p_plain"].mean())
        assert row.p_moved == pytest.approx(own["p_target"].mean())
        assert row.changed == pytest.approx((own["predicted"] != own["predicted_plain"]).mean())


def test_invariance_of_an_image_is_the_same_beside_others_and_leaves_the_pictures(
    run: Path, tmp_path: Path, pictures: Path, digests: Digests
):
    before = digests(pictures)
    shutil.copytree(run, tmp_path / "other")
    engine.run(_spec(run, images={"ids": [25]}))
    engine.run(_spec(tmp_path / "other", images={"ids": list(range(20, 30))}))

    for table in ("responses", "pictures"):
        other = _rows(tmp_path / "other", table)
        beside = other[other["image_id"] == 25].reset_index(drop=True)
        pd.testing.assert_frame_equal(_rows(run, table), beside)
    assert digests(pictures) == before


def test_layers_left_open_are_the_first_and_the_last_but_one(run: Path):
    spec = _spec(run, layers={}, translation_px=None, scale=None)

    engine.run(spec)

    layers = open_run(str(run)).table("layers", job="scan").sort_values("position")["layer"]
    assert _rows(run)["layer"].unique().tolist() == [layers.iloc[0], layers.iloc[-2]]
    assert _rows(run, "areas")["transform"].unique().tolist() == ["rotation"]


@pytest.fixture
def mortal(spec_at: MakeSpec, tmp_path: Path) -> tuple[Path, Path]:
    """Two equal runs of a network whose file can make it kill its process; see `tiny_nets`."""
    shutil.copy(nets.__file__, tmp_path / "nets.py")
    engine.run(spec_at(tmp_path / "a", net="mortal", nets_file=tmp_path / "nets.py", **DATA))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


FEW = {"images": {"ids": list(range(4))}, "rotation_degrees": None}


def _same(a: Path, b: Path, digests: Digests) -> bool:
    return all(
        digests(a / "invariance" / table) == digests(b / "invariance" / table) for table in TABLES
    )


def test_invariance_killed_and_resumed_gives_the_same_tables(
    mortal: tuple[Path, Path], tmp_path: Path, digests: Digests
):
    engine.run(_spec(mortal[0], **FEW))
    spec = _spec(mortal[1], **FEW)
    (tmp_path / nets.CRASH).write_text(f"{mortal[1] / 'invariance' / '_work' / 'done'}\n1")
    code = (
        "import sys; from jobs import engine; from schemas.jobs.invariance import InvarianceSpec;"
        "engine.run(InvarianceSpec.model_validate_json(sys.argv[1]))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, spec.model_dump_json()],
        env=os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[1])},
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL
    assert len(list((mortal[1] / "invariance" / "_work" / "done").glob("*.json"))) == 1
    engine.run(spec)
    assert _same(*mortal, digests)


@pytest.mark.ray
def test_invariance_on_ray_with_a_worker_killed_gives_the_same_tables(
    mortal: tuple[Path, Path], tmp_path: Path, digests: Digests
):
    pytest.importorskip("ray", reason="needs ray")
    engine.run(_spec(mortal[0], **FEW))
    order = tmp_path / nets.CRASH
    order.write_text(f"{mortal[1] / 'invariance' / '_work' / 'done'}\n1")

    manifest = engine.run(_spec(mortal[1], **FEW, resources={"workers": 2, "threads": 1}))

    assert not order.exists()
    assert manifest.counts["retries"] == 1
    assert _same(*mortal, digests)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"target": 5}, SpecError, "target: 5 is no class of the network; choices: 0 to 4"),
        ({"images": {"ids": [99]}}, DatasetError, "no image 99"),
        ({"layers": {"include": ["rellu1"]}}, LayerError, "nearest: relu1"),
    ],
)
def test_invariance_that_cannot_be_done_begins_nothing(
    run: Path, given: dict[str, object], error: type[Exception], says: str
):
    with pytest.raises(error, match=says):
        engine.run(_spec(run, **given))
    assert not (run / "invariance").exists()


def test_invariance_of_a_network_that_cannot_be_traced(spec_at: MakeSpec, tmp_path: Path):
    run = tmp_path / "run"
    engine.run(spec_at(run, net="forked", layers={"exclude": ["dark"]}, **DATA))

    manifest = engine.run(_spec(run, layers={"include": ["body.relu1"]}))

    assert manifest.counts["moves"] == 2 * 14
    assert (_rows(run)["distance"] >= 0).all()


def test_invariance_to_other_moves_is_another_plan(run: Path):
    engine.run(_spec(run, translation_px=None, scale=None, rotation_degrees="0..90/90"))
    with pytest.raises(PlanMismatchError, match="fill"):
        engine.run(
            _spec(run, translation_px=None, scale=None, rotation_degrees="0..90/90", fill="grey")
        )
    with pytest.raises(PlanMismatchError, match="moves"):
        engine.run(_spec(run, translation_px=None, scale=None, rotation_degrees="0..90/45"))
