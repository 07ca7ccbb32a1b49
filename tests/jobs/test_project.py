"""Projections from the index alone: what does not belong to the index is refused by name."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import tests.tiny_nets as nets
from jobs import engine
from jobs.cli import app
from pipeline.store import open_run
from schemas.errors import (
    DatasetError,
    LayerError,
    ModelError,
    PlanMismatchError,
    WorkerError,
)
from schemas.jobs.project import ProjectSpec
from schemas.jobs.scan import ScanSpec
from tests.reference import deconvnet, raw_picture

MakeSpec = Callable[..., ScanSpec]
Digests = Callable[[str | Path], dict[str, str]]


@pytest.fixture(scope="module")
def scanned(
    spec_at: MakeSpec, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A published scan, and its own copies of the pictures and of the network's file."""
    home = tmp_path_factory.mktemp("scanned")
    shutil.copytree(pictures, home / "pictures")
    shutil.copy(nets.__file__, home / "nets.py")
    data = {"uri": str(home / "pictures"), "max_reject_fraction": 0.1}
    engine.run(spec_at(home / "run", nets_file=home / "nets.py", data=data))
    return home / "run", home


@pytest.fixture
def run(scanned: tuple[Path, Path], tmp_path: Path) -> Path:
    """The scan alone, in a folder of the test's own."""
    shutil.copytree(scanned[0] / "scan", tmp_path / "run" / "scan")
    return tmp_path / "run"


def _spec(run: Path, **changes: object) -> ProjectSpec:
    fields = {"run": str(run), "resources": {"local": True, "threads": 1}, "batch_size": 4}
    return ProjectSpec.model_validate(fields | changes)


def test_project_of_all_units_draws_every_row_of_the_index(run: Path):
    manifest = engine.run(_spec(run))

    key = ["layer", "unit", "rank"]
    top = open_run(str(run)).table("top_patches").sort_values(key, ignore_index=True)
    drawn = open_run(str(run)).table("projections").sort_values(key, ignore_index=True)
    columns = [*key, "image_id", "value", "box_y0", "box_x0", "box_y1", "box_x1"]
    assert manifest.counts["projections"] == len(top)
    assert drawn[columns].equals(top[columns])
    np.testing.assert_allclose(drawn["reproduced"], drawn["value"], rtol=1e-4)


def test_project_table_is_sorted_in_one_file_a_layer(run: Path):
    manifest = engine.run(_spec(run))

    files = manifest.tables["projections"]
    layers = open_run(str(run)).table("layers")["layer"]
    assert len(files) == len(layers)
    for layer in layers:
        rows = open_run(str(run)).table("projections", layer=layer)[["unit", "rank"]]
        assert rows.equals(rows.sort_values(["unit", "rank"], ignore_index=True))


def test_project_pictures_have_the_size_of_the_box_or_the_frame(run: Path):
    engine.run(_spec(run))

    for row in open_run(str(run)).table("projections").itertuples():
        size = Image.open(io.BytesIO(row.patch["bytes"])).size
        assert size == Image.open(io.BytesIO(row.projection["bytes"])).size
        assert size == (min(row.box_x1 - row.box_x0, 24), min(row.box_y1 - row.box_y0, 24))


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
def test_project_pictures_equal_the_definition(run: Path, rule: str):
    engine.run(_spec(run, rule=rule, layers={"include": ["relu2"]}))
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    chain = list(nets.small().double())[:5]
    top = open_run(str(run)).table("top_patches", layer="relu2")
    drawn = open_run(str(run)).table("projections").set_index(["unit", "rank"])

    for row in top.itertuples():
        frame = (raw_picture(Path(row.uri)) - mean) / std
        with torch.no_grad():
            signal = deconvnet(chain, frame, (row.unit, row.y, row.x), row.value, rule)
        padded = np.pad(signal[0].numpy(), ((0, 0), (9, 9), (9, 9)))
        wanted = padded[:, row.box_y0 + 9 : row.box_y1 + 9, row.box_x0 + 9 : row.box_x1 + 9]
        found = drawn.loc[(row.unit, row.rank)]
        pixels = np.asarray(Image.open(io.BytesIO(found["projection"]["bytes"])), np.float64)
        values = (pixels - 128) / 127 * found["scale"]
        assert found["scale"] == pytest.approx(np.abs(wanted).max(), rel=1e-4)
        assert np.abs(values.transpose(2, 0, 1) - wanted).max() <= found["scale"] / 254 * 1.001
        pixels = np.asarray(Image.open(row.uri).convert("RGB"))
        shown = np.pad(pixels, ((9, 9), (9, 9), (0, 0)), constant_values=128)
        patch = np.asarray(Image.open(io.BytesIO(found["patch"]["bytes"])))
        assert (
            patch == shown[row.box_y0 + 9 : row.box_y1 + 9, row.box_x0 + 9 : row.box_x1 + 9]
        ).all()


def test_project_twice_is_done_already(run: Path, digests: Digests):
    first = engine.run(_spec(run))
    before = digests(run)

    assert engine.run(_spec(run)) == first
    assert digests(run) == before


def test_project_by_another_rule_is_refused(run: Path):
    engine.run(_spec(run))

    with pytest.raises(PlanMismatchError, match="rule: deconvnet -> guided"):
        engine.run(_spec(run, rule="guided"))


def test_project_of_some_units_draws_only_these(run: Path):
    engine.run(_spec(run, layers={"include": ["relu2"]}, units="2-3"))

    drawn = open_run(str(run)).table("projections")
    assert set(drawn["layer"]) == {"relu2"}
    assert set(drawn["unit"]) == {2, 3}


def test_project_of_the_strongest_draws_these_and_says_so(run: Path):
    manifest = engine.run(_spec(run, top=2, units="2-3"))

    drawn = open_run(str(run)).table("projections")
    assert set(drawn["rank"]) == {1, 2}
    assert set(drawn["unit"]) == {2, 3}
    assert manifest.identity["top"] == 2
    with pytest.raises(PlanMismatchError, match="top: 2 -> absent"):
        engine.run(_spec(run, units="2-3"))


def test_project_of_all_ranks_has_the_identity_of_earlier_releases(run: Path):
    assert "top" not in engine.run(_spec(run, units="2")).identity


def test_project_of_an_unknown_layer_lists_near_names(run: Path):
    with pytest.raises(LayerError, match="relu2"):
        engine.run(_spec(run, layers={"include": ["relu22"]}))


def test_project_of_units_beyond_the_layers_is_refused(run: Path):
    with pytest.raises(LayerError, match="units"):
        engine.run(_spec(run, units="900-910"))


def test_project_with_other_weights_is_refused(run: Path, scanned: tuple[Path, Path]):
    file = scanned[1] / "nets.py"
    source = file.read_text()
    file.write_text(source.replace("torch.manual_seed(7)", "torch.manual_seed(80)"))
    try:
        with pytest.raises(ModelError, match="was made with"):
            engine.run(_spec(run))
    finally:
        file.write_text(source)
    assert not (run / "project").exists()


def test_project_of_a_network_whose_layers_were_renamed_is_refused(
    run: Path, scanned: tuple[Path, Path]
):
    file = scanned[1] / "nets.py"
    source = file.read_text()
    file.write_text(source.replace("relu2=nn.ReLU", "rectifier=nn.ReLU"))
    try:
        with pytest.raises(ModelError, match="has no layer 'relu2' any more"):
            engine.run(_spec(run))
    finally:
        file.write_text(source)


def test_project_of_an_index_in_bf16_allows_for_its_rounding(spec_at: MakeSpec, tmp_path: Path):
    out = tmp_path / "run"
    engine.run(spec_at(out, precision="bf16"))

    manifest = engine.run(_spec(out))

    drawn = open_run(str(out)).table("projections")
    assert manifest.counts["projections"] == len(open_run(str(out)).table("top_patches"))
    assert np.abs(drawn["reproduced"] / drawn["value"] - 1).max() > 1e-3, "nothing was rounded"


def test_project_with_another_list_is_refused(run: Path, scanned: tuple[Path, Path]):
    added = scanned[1] / "pictures" / "ants" / "zzz.png"
    Image.new("RGB", (24, 24)).save(added)
    try:
        with pytest.raises(DatasetError, match="lists 42 images"):
            engine.run(_spec(run))
    finally:
        added.unlink()


def test_project_of_a_changed_picture_is_refused(run: Path):
    top = open_run(str(run)).table("top_patches", layer="relu1", unit=0)
    picture = Path(top["uri"].iloc[0])
    before = picture.read_bytes()
    Image.effect_noise((24, 24), 90).convert("RGB").save(picture)
    try:
        with pytest.raises(DatasetError, match="other weights or other pictures"):
            engine.run(_spec(run))
    finally:
        picture.write_bytes(before)
    assert not (run / "project" / "manifest.json").exists()


def test_project_of_a_picture_that_is_gone_is_refused(run: Path):
    top = open_run(str(run)).table("top_patches", layer="relu1", unit=0)
    picture = Path(top["uri"].iloc[0])
    before = picture.read_bytes()
    picture.write_bytes(b"")
    try:
        with pytest.raises(DatasetError, match="cannot be read"):
            engine.run(_spec(run))
    finally:
        picture.write_bytes(before)


@pytest.mark.ray
def test_project_on_ray_gives_the_same_tables(run: Path, tmp_path: Path, digests: Digests):
    pytest.importorskip("ray", reason="needs ray")
    shutil.copytree(run, tmp_path / "other")
    engine.run(_spec(run))

    engine.run(_spec(tmp_path / "other", resources={"workers": 2, "threads": 1}))

    tables = Path("project") / "projections"
    assert digests(run / tables) == digests(tmp_path / "other" / tables)


def test_project_of_another_activation_needs_the_gradient_rule(spec_at: MakeSpec, tmp_path: Path):
    (tmp_path / "smooth.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef smooth(num_classes=3):\n"
        "    torch.manual_seed(3)\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.SiLU(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))\n"
    )
    file, out = tmp_path / "smooth.py", tmp_path / "run"
    engine.run(spec_at(out, net="smooth", nets_file=file))

    with pytest.raises((LayerError, WorkerError), match="take --rule gradient"):
        engine.run(_spec(out))
    manifest = engine.run(_spec(out, rule="gradient"))
    assert manifest.counts["projections"] > 0


def test_project_command_says_what_was_done_and_what_comes_next(run: Path):
    arguments = ["project", str(run), "--layers", "relu2", "--units", "1", "--local"]

    first, again, refused = (
        CliRunner().invoke(app, [*arguments, "--set", "resources.threads=1", *more])
        for more in ([], [], ["--rule", "guided"])
    )

    rows = open_run(str(run)).table("projections")
    images = rows["image_id"].nunique()
    assert (first.exit_code, again.exit_code, refused.exit_code) == (0, 0, 2), refused.output
    assert f" images/s): {len(rows)} projections of {images} images, in {run}" in first.output
    assert f"next: unitscope gallery {run}" in first.output
    assert "project already done (" in again.output
    assert "rule: deconvnet -> guided" in refused.output


def test_project_command_prints_its_spec_and_does_nothing(run: Path):
    arguments = ["project", str(run), "--units", "0-63", "--rule", "gradient", "--print-spec"]

    done = CliRunner().invoke(app, arguments)

    assert done.exit_code == 0
    assert "units: 0-63" in done.output
    assert "rule: gradient" in done.output
    assert not (run / "project").exists()
