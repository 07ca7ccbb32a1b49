"""Occlusion of a scan's images: the definition, the choice of images, and what is refused."""

from __future__ import annotations

import io
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

import tests.tiny_nets as nets
from jobs import engine, occlude
from jobs.cli import app
from pipeline.models.network import open_network
from pipeline.store import open_run
from schemas.errors import DatasetError, LayerError, ModelError, PlanMismatchError, SpecError
from schemas.jobs.occlude import OccludeSpec
from schemas.jobs.project import ProjectSpec
from schemas.jobs.scan import ScanSpec
from schemas.manifest import fingerprint
from schemas.specs import Resources
from tests.reference import occluded, raw_picture

MakeSpec = Callable[..., ScanSpec]
Digests = Callable[[str | Path], dict[str, str]]
MEAN, STD = (
    torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
    for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


@pytest.fixture(scope="module")
def scanned(
    spec_at: MakeSpec, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A published scan, and its own copies of the pictures and of the network's file."""
    home = tmp_path_factory.mktemp("scanned")
    shutil.copytree(pictures, home / "pictures")
    shutil.copy(nets.__file__, home / "nets.py")
    data = {"uri": str(home / "pictures"), "max_reject_fraction": 0.1}
    engine.run(spec_at(home / "run", net="mortal", nets_file=home / "nets.py", data=data))
    return home / "run", home


@pytest.fixture
def run(scanned: tuple[Path, Path], tmp_path: Path) -> Path:
    """The scan alone, in a folder of the test's own."""
    shutil.copytree(scanned[0] / "scan", tmp_path / "run" / "scan")
    return tmp_path / "run"


def _spec(run: Path, **changes: object) -> OccludeSpec:
    fields = {
        "run": str(run),
        "images": {"ids": [3, 25]},
        "window_px": [6],
        "stride_px": [5],
        "resources": {"local": True, "threads": 1},
    }
    return OccludeSpec.model_validate(fields | changes)


def _table(run: Path, name: str) -> pd.DataFrame:
    return open_run(str(run)).table(name, job="occlude")


def _frame(uri: str) -> Tensor:
    return (raw_picture(Path(uri)) - MEAN) / STD


@pytest.mark.parametrize("kind", ["dense", "incremental"])
def test_occlude_equals_the_definition(run: Path, kind: str):
    manifest = engine.run(_spec(run, engine=kind, window_px=["6", "4x9"], layer="relu2"))

    net = nets.small().double().eval()
    grey = ((torch.full((1, 3, 24, 24), 128 / 255).double()) - MEAN) / STD
    pictures, maps = _table(run, "pictures"), _table(run, "maps")
    assert manifest.counts["positions"] == len(maps)
    assert pictures["engine"].unique().tolist() == [kind]
    for picture in pictures.itertuples():
        rows = maps[(maps["image_id"] == picture.image_id) & (maps["window"] == picture.window)]
        size = (picture.window_px, picture.window_width_px)
        windows = [(y, x, *size) for y, x in zip(rows["y_px"], rows["x_px"], strict=True)]
        frame = _frame(picture.uri)
        scores, sums = occluded(net, frame, grey, windows, net.relu2)
        clean, whole = occluded(net, frame, grey, [(0, 0, 0, 0)], net.relu2)
        p, clean_p = scores.softmax(1), clean.softmax(1)[0]
        assert picture.target == picture.label
        assert picture.p_target == pytest.approx(float(clean_p[picture.target]), abs=1e-6)
        assert picture.unit == int(whole[0].argmax())
        assert picture.activity == pytest.approx(float(whole[0].max()), rel=1e-5)
        np.testing.assert_allclose(rows["p_target"], p[:, picture.target], atol=1e-6)
        np.testing.assert_allclose(rows["p_predicted"], p.max(dim=1).values, atol=1e-6)
        np.testing.assert_allclose(rows["activity"], sums[:, picture.unit], rtol=1e-5)
        assert (picture.rows, picture.cols) == (rows["y_px"].nunique(), rows["x_px"].nunique())
        drop = float(clean_p[picture.target] - p[:, picture.target].min())
        assert picture.largest_drop == pytest.approx(drop, abs=1e-6)


def test_occlude_tables_are_keyed_and_sorted(run: Path):
    engine.run(_spec(run, window_px=["6", "8"], stride_px=[6, 4]))

    for name, key in (
        ("pictures", ["image_id", "window"]),
        ("maps", ["image_id", "window", "y_px", "x_px"]),
    ):
        rows = _table(run, name)
        assert rows[key].equals(rows[key].sort_values(key, ignore_index=True))
        assert not rows.duplicated(key).any()
    assert _table(run, "pictures")["stride_px"].tolist() == [6, 4, 6, 4]


def test_occlude_watches_the_target_that_is_asked_for(run: Path):
    engine.run(_spec(run, target=4))

    assert _table(run, "pictures")["target"].tolist() == [4, 4]


def test_occlude_knows_the_objects_boxes(run: Path, tmp_path: Path):
    boxes = tmp_path / "boxes.csv"
    images = open_run(str(run)).table("images", job="scan").set_index("image_id")
    boxes.write_text(f"path,part,y0,x0,y1,x1\n{images.loc[3, 'uri']},ants,0,0,24,24\n")

    engine.run(_spec(run, boxes=str(boxes)))

    pictures = _table(run, "pictures").set_index("image_id")
    assert pictures.loc[3, "pointed"] is True
    assert pictures.loc[3, "drop_inside"] == pytest.approx(1.0)
    assert pictures.loc[25, "pointed"] is None


def test_occlude_with_boxes_of_other_pictures_is_refused(run: Path, tmp_path: Path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("path,part,y0,x0,y1,x1\nelsewhere.png,ants,0,0,24,24\n")

    with pytest.raises(DatasetError, match="names 1 pictures, none of them scanned"):
        engine.run(_spec(run, boxes=str(boxes)))
    assert not (run / "occlude").exists()


def test_occlude_again_with_a_box_moved_is_refused(run: Path, tmp_path: Path):
    boxes = tmp_path / "boxes.csv"
    uri = open_run(str(run)).table("images", job="scan").set_index("image_id").loc[3, "uri"]
    boxes.write_text(f"path,part,y0,x0,y1,x1\n{uri},ants,0,0,24,24\n")
    engine.run(_spec(run, boxes=str(boxes)))
    boxes.write_text(f"path,part,y0,x0,y1,x1\n{uri},ants,0,0,24,23\n")

    with pytest.raises(PlanMismatchError, match="boxes: "):
        engine.run(_spec(run, boxes=str(boxes)))


@pytest.mark.parametrize(
    ("images", "count"),
    [
        ({"ids": [0, 40, 7]}, 3),
        ({"classes": ["bees"]}, 20),
        ({"classes": ["1"], "sample": 4}, 4),
        ({"of_unit": "relu1:2"}, 4),
        ({"of_unit": "relu1:2", "classes": ["bees"]}, None),
    ],
)
def test_images_are_chosen_as_asked(run: Path, images: dict[str, object], count: int | None):
    spec = _spec(run, images=images, stride_px=[18], layer="relu1")
    tops = open_run(str(run)).table("top_patches", job="scan", layer="relu1", unit=2)
    bees = set(range(21, 41))
    if count is None:
        count = len(set(tops["image_id"]) & bees)
        if not count:
            with pytest.raises(DatasetError, match="the selection leaves none"):
                engine.run(spec)
            return

    engine.run(spec)

    ids = _table(run, "pictures")["image_id"].tolist()
    assert len(ids) == count
    assert ids == sorted(set(ids))
    assert "classes" not in images or set(ids) <= bees
    assert "of_unit" not in images or set(ids) <= set(tops["image_id"])


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"images": {"ids": [8]}}, DatasetError, "has no image 8"),
        ({"images": {"classes": ["beees"]}}, DatasetError, "no image of class 'beees'; nearest"),
        ({"images": {"of_unit": "relu9:1"}}, LayerError, "no layer relu9"),
        ({"layer": "relu3"}, LayerError, "no layer 'relu3'; nearest: relu"),
        ({"window_px": [25]}, SpecError, "25 x 25 pixels does not fit"),
        ({"target": 5}, SpecError, "target: 5 is no class of the network; choices: 0 to 4"),
    ],
)
def test_occlude_of_what_is_not_there_is_refused_before_anything_is_put(
    run: Path, changes: dict[str, object], kind: type[Exception], says: str
):
    """Row 8 of the list is the file that is no picture."""
    with pytest.raises(kind, match=says):
        engine.run(_spec(run, **changes))
    assert not (run / "occlude").exists()


def test_occlude_with_other_weights_is_refused(run: Path, scanned: tuple[Path, Path]):
    file = scanned[1] / "nets.py"
    source = file.read_text()
    file.write_text(source.replace("torch.manual_seed(7)", "torch.manual_seed(80)"))
    try:
        with pytest.raises(ModelError, match="was made with"):
            engine.run(_spec(run))
    finally:
        file.write_text(source)


def test_occlude_again_with_another_window_is_refused(run: Path):
    engine.run(_spec(run))

    with pytest.raises(PlanMismatchError, match=r"fill: grey -> mean"):
        engine.run(_spec(run, fill="mean"))


def test_occlude_projects_what_project_does(run: Path):
    """An image among the unit's top patches has that patch's projection: one activation, one way.

    They went through the network in other batches, so a pixel may round the other way.
    """
    engine.run(_spec(run, images={}, layer="relu2", stride_px=[18]))
    engine.run(ProjectSpec(run=str(run), resources=Resources(local=True, threads=1)))

    tops = open_run(str(run)).table("projections", job="project", layer="relu2")
    both = _table(run, "map_projections").merge(tops, on=["image_id", "unit"])
    assert len(both)
    for row in both.itertuples():
        assert row.value_x == pytest.approx(row.value_y, rel=1e-5)
        assert row.scale_x == pytest.approx(row.scale_y, rel=1e-5)
        assert row.box_y0_x == row.box_y0_y
        mine, theirs = (
            np.asarray(Image.open(io.BytesIO(cell["bytes"]))).astype(int)
            for cell in (row.projection_x, row.projection_y)
        )
        assert np.abs(mine - theirs).max() <= 1


def test_occlude_without_the_rule_says_so_and_still_works(
    spec_at: MakeSpec, pictures: Path, tmp_path: Path
):
    data = {"uri": str(pictures), "max_reject_fraction": 0.1}
    engine.run(spec_at(tmp_path, net="smooth", data=data))

    report = engine.run_and_report(_spec(tmp_path, stride_px=[18]))

    why = "rule 'deconvnet' is defined for networks of rectifiers, and relu2 is silu"
    assert report.warnings == (f"no projections of the strongest maps: {why}",)
    assert _table(tmp_path, "map_projections")["missing"].tolist() == [why, why]


def test_occlude_again_over_one_of_a_release_without_projections_says_what_differs(run: Path):
    spec = _spec(run, stride_px=[18])
    manifest = engine.run(spec)
    identity = {name: each for name, each in manifest.identity.items() if name != "projection"}
    old = manifest.model_copy(
        update={
            "identity": identity,
            "fingerprint": fingerprint(identity),
            "tables": {name: manifest.tables[name] for name in ("pictures", "maps")},
        }
    )
    (run / "occlude" / "manifest.json").write_text(old.model_dump_json())

    with pytest.raises(PlanMismatchError, match=r"projection: absent -> deconvnet\n") as refused:
        engine.run(spec)

    assert f"delete {run}/occlude to begin anew" in str(refused.value)


def test_watched_layer_left_open_is_the_last_map(run: Path):
    engine.run(_spec(run))

    assert _table(run, "pictures")["layer"].unique().tolist() == ["relu2"]


@pytest.mark.parametrize(
    ("head", "watched"),
    [
        # SqueezeNet's: the last map says a class's score by itself.
        (OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()), "relu1"),
        # As many maps as classes by chance; the layer after them mixes them.
        (OrderedDict(flat=nn.Flatten(), fc=nn.Linear(4 * 64, 4)), "relu2"),
    ],
)
def test_watched_layer_is_not_the_one_that_says_the_classes_themselves(
    head: OrderedDict[str, nn.Module], watched: str
):
    body = OrderedDict(
        conv1=nn.Conv2d(3, 6, 3, padding=1),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(6, 4, 3, padding=1),
        relu2=nn.ReLU(),
    )

    network = open_network(nn.Sequential(OrderedDict(**body, **head)).eval(), 8)

    assert occlude.watched_layer(network, None) == watched


@pytest.mark.ray
def test_occlude_on_ray_with_a_worker_killed_gives_the_same_tables(
    run: Path, scanned: tuple[Path, Path], tmp_path: Path, digests: Digests
):
    pytest.importorskip("ray", reason="needs ray")
    ids = {"ids": [0, 1, 2, 3, 4, 5]}
    shutil.copytree(run, tmp_path / "other")
    engine.run(_spec(run, images=ids, engine="dense"))
    order = scanned[1] / nets.CRASH
    order.write_text(f"{tmp_path / 'other' / 'occlude' / '_work' / 'done'}\n2")

    resources = {"workers": 2, "threads": 1}
    manifest = engine.run(
        _spec(tmp_path / "other", images=ids, engine="dense", resources=resources)
    )

    assert not order.exists()
    assert manifest.counts["retries"] == 1
    for name in ("pictures", "maps", "map_projections"):
        tables = Path("occlude") / name
        assert digests(run / tables) == digests(tmp_path / "other" / tables)


def test_occlude_command_says_what_was_done_and_what_comes_next(run: Path):
    arguments = ["occlude", str(run), "--images", "3,25", "--window-px", "6", "--stride-px", "9",
                 "--local", "--set", "resources.threads=1"]  # fmt: skip

    first, again = (CliRunner().invoke(app, arguments) for _ in range(2))
    refused = CliRunner().invoke(app, [*arguments, "--fill", "pink"])

    assert (first.exit_code, again.exit_code, refused.exit_code) == (0, 0, 2), refused.output
    assert f" images/s): 18 windows on 2 images, in {run}" in first.output
    assert f"next: unitscope gallery {run}" in first.output
    assert "occlude already done (" in again.output
    assert "fill: " in refused.output
