"""The evolution of units through checkpoints: the definition, what repeats, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import tests.tiny_nets as nets
from jobs import engine
from pipeline.stages.contract import Stage
from pipeline.store import JobFolder, open_run
from schemas.errors import DatasetError, LayerError, ModelError, PlanMismatchError, SpecError
from schemas.jobs.evolve import EvolveSpec
from schemas.jobs.project import ProjectSpec
from schemas.jobs.scan import ScanSpec
from schemas.manifest import Shard
from tests import evolving
from tests.evolving import NAMES
from tests.reference import raw_picture

MakeSpec = Callable[..., ScanSpec]
Digests = Callable[[str | Path], dict[str, str]]
LAYERS = ["relu1", "relu2", "fc"]


@pytest.fixture(scope="module")
def home(spec_at: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints, and a run whose scan is of the last, with their evolution."""
    home = tmp_path_factory.mktemp("home")
    evolving.write(home / "weights")
    engine.run(_scan(spec_at, home))
    engine.run(_spec(home))
    return home


@pytest.fixture
def scanned(home: Path, tmp_path: Path) -> Path:
    """The checkpoints and the scan alone, in a folder of the test's own."""
    shutil.copytree(home / "weights", tmp_path / "weights")
    shutil.copytree(home / "run" / "scan", tmp_path / "run" / "scan")
    return tmp_path


def _scan(spec_at: MakeSpec, home: Path) -> ScanSpec:
    model = {"weights": str(home / "weights" / f"{NAMES[-1]}.safetensors")}
    return spec_at(home / "run", model=model, data={"max_reject_fraction": 0.1})


def _spec(home: Path, **changes: object) -> EvolveSpec:
    fields = {
        "run": str(home / "run"),
        "checkpoints": [str(home / "weights" / "*.safetensors")],
        "units": "2-3",
        "resources": {"local": True, "threads": 1},
    }
    return EvolveSpec.model_validate(fields | changes)


def _table(home: Path, name: str) -> pd.DataFrame:
    return open_run(str(home / "run")).table(name, job="evolve")


def _maxima(name: str, layer: str, images: pd.DataFrame) -> np.ndarray:
    """Spatial maxima [images, units] of a checkpoint's layer in float64."""
    net = nets.small().double().eval()
    net.load_state_dict(evolving.state_at(int(name.removeprefix("step"))))
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).double()
    found = []
    for uri in images["uri"]:
        signal = (raw_picture(Path(uri)) - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        for own, module in net.named_children():
            signal = module(signal)
            if own == layer:
                break
        found.append(signal.detach().flatten(2).amax(2)[0] if signal.dim() == 4 else signal[0])
    return torch.stack(found).detach().numpy()


def test_strongest_images_are_those_of_the_definition(home: Path):
    rows = _table(home, "strongest")
    images = open_run(str(home / "run")).table("images")

    assert rows.groupby("layer", sort=False).size().to_dict() == {
        "relu1": 24,
        "relu2": 32,
        "fc": 20,
    }
    for (layer, name), own in rows.groupby(["layer", "name"]):
        maxima = _maxima(str(name), str(layer), images)
        if layer != "fc":
            maxima = np.where(maxima > 0, maxima, -np.inf)
        best = images["image_id"].to_numpy()[maxima.argmax(axis=0)]
        dead = np.isneginf(maxima.max(axis=0))
        assert own["unit"].tolist() == list(range(maxima.shape[1]))
        assert own["image_id"].isna().tolist() == dead.tolist()
        assert own["image_id"][~dead].tolist() == best[~dead].tolist()
        np.testing.assert_allclose(own["value"][~dead], maxima.max(axis=0)[~dead], rtol=1e-5)


def test_changes_and_jumps_are_those_of_sets(home: Path):
    changes = _table(home, "changes").set_index(["layer", "name"])
    jumps = _table(home, "strongest").groupby(["layer", "name"])["jumped"]
    tops = {
        name: {
            key: own.sort_values("rank")["image_id"].tolist()
            for key, own in open_run(str(home / "run" / "checkpoints" / name))
            .table("top_patches")
            .groupby(["layer", "unit"])
        }
        for name in NAMES
    }
    keys = {layer: [key for key in tops[NAMES[-1]] if key[0] == layer] for layer in LAYERS}

    for layer, own in keys.items():
        for before, name in zip((None, *NAMES[:-1]), NAMES, strict=True):
            row = changes.loc[(layer, name)]
            a = [tops[name].get(key, []) for key in own]
            last = [tops[NAMES[-1]].get(key, []) for key in own]
            assert row.overlap_last == pytest.approx(_overlap(a, last), abs=1e-15)
            assert row.units - row.dead == sum(map(bool, a))
            if before is None:
                assert pd.isna(row.overlap)
                assert jumps.get_group((layer, name)).isna().all()
                continue
            b = [tops[before].get(key, []) for key in own]
            firsts = [x[0] == y[0] for x, y in zip(a, b, strict=True) if x and y]
            assert row.overlap == pytest.approx(_overlap(a, b), abs=1e-15)
            assert row.jumps == firsts.count(False) == jumps.get_group((layer, name)).sum()
            assert row.stayed == pytest.approx(sum(firsts) / row.compared, abs=1e-15)


def _overlap(a: list[list[int]], b: list[list[int]]) -> float:
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x or y]
    shares = [len({*x} & {*y}) / max(len(x), len(y)) for x, y in pairs]
    return sum(shares) / len(shares)


def test_chosen_units_have_the_pictures_of_their_projection(home: Path):
    rows = _table(home, "strongest")
    shown = rows[rows["projection"].notna()]

    living = rows[rows["unit"].isin([2, 3]) & rows["image_id"].notna()]
    assert len(shown) > 0
    assert shown.index.tolist() == living.index.tolist()
    for name in NAMES:
        run = open_run(str(home / "run" / "checkpoints" / name))
        drawn = run.table("projections", job="project")
        own = shown[shown["name"] == name]
        assert drawn["rank"].unique().tolist() == [1]
        assert own["projection"].tolist() == drawn["projection"].tolist()
        assert own["image_id"].astype(int).tolist() == drawn["image_id"].tolist()


def test_checkpoints_are_ordinary_runs_that_agree_with_the_runs_own_scan(home: Path):
    own = open_run(str(home / "run"))
    last = open_run(str(home / "run" / "checkpoints" / NAMES[-1]))

    assert last.manifest("scan").fingerprint == own.manifest("scan").fingerprint
    assert last.table("top_patches").equals(own.table("top_patches"))
    assert own.manifest("evolve").identity["checkpoints"][0]["name"] == "step0"
    assert [each["name"] for each in own.manifest("evolve").identity["checkpoints"]] == [*NAMES]


def test_evolve_twice_is_done_already_and_scans_nothing(
    home: Path, digests: Digests, monkeypatch: pytest.MonkeyPatch
):
    before = digests(home)
    monkeypatch.setattr(engine, "run_shards", None)

    report = engine.run_and_report(_spec(home))

    assert report.text.startswith("evolve already done")
    assert "in this order: step0, step2, step3, step10;" in report.text
    assert digests(home) == before


def test_evolve_interrupted_in_each_kind_of_job_gives_the_same_tables(
    home: Path, scanned: Path, digests: Digests, monkeypatch: pytest.MonkeyPatch
):
    run_shards, begun = engine.run_shards, []

    def once(
        stage: Stage, folder: JobFolder, contracts: object, shards: Sequence[Shard], **options: Any
    ) -> object:
        if stage.name in begun:
            return run_shards(stage, folder, contracts, shards, **options)
        begun.append(stage.name)
        run_shards(stage, folder, contracts, shards[:1], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_shards", once)
    for _ in ("scan", "project", "evolve"):
        with pytest.raises(KeyboardInterrupt):
            engine.run(_spec(scanned))
    assert begun == ["scan", "project", "evolve"]
    engine.run(_spec(scanned))
    engine.run(_spec(scanned))

    for name in ("strongest", "changes", "settled"):
        table = Path("run", "evolve", name)
        assert digests(home / table) == digests(scanned / table)


@pytest.mark.ray
def test_evolve_on_ray_gives_the_same_tables(home: Path, scanned: Path, digests: Digests):
    pytest.importorskip("ray", reason="needs ray")
    shutil.copytree(home / "run" / "checkpoints", scanned / "run" / "checkpoints")

    engine.run(_spec(scanned, resources={"workers": 2, "threads": 1}))

    for name in ("strongest", "changes", "settled"):
        table = Path("run", "evolve", name)
        assert digests(home / table) == digests(scanned / table)


def test_equal_weights_are_told_and_settle_at_once(scanned: Path):
    names = ("e2", "e10")
    evolving.write(scanned / "same", dict.fromkeys(names, evolving.state_at(0)))

    report = engine.run_and_report(_spec(scanned, checkpoints=[str(scanned / "same" / "e*")]))

    assert "in this order: e2, e10;" in report.text
    assert report.warnings == (
        "e2 and e10 hold the same weights, so that nothing changes between them",
    )
    assert set(_table(scanned, "settled")["name"]) == {"e2"}
    assert _table(scanned, "changes")["overlap"].dropna().unique().tolist() == [1.0]


def test_layer_that_is_dead_at_a_checkpoint_neither_jumps_nor_settles(scanned: Path):
    dead = nets.dead().state_dict()
    states = {"a": evolving.state_at(0), "b": dead, "c": evolving.state_at(0)}
    evolving.write(scanned / "dead", states)

    checkpoints = [str(scanned / "dead" / "*")]
    engine.run(_spec(scanned, checkpoints=checkpoints, layers={"include": ["relu2"]}))

    changes = _table(scanned, "changes")
    assert (changes["dead"].tolist(), changes["jumps"].fillna(-1).tolist()) == (
        [0, 8, 0],
        [-1, 0, 0],
    )
    assert changes["overlap"].fillna(-1).tolist() == [-1, 0, 0]
    assert changes["overlap_last"].tolist() == [1, 0, 1]
    assert _table(scanned, "strongest")["jumped"].isna().all()
    settled = _table(scanned, "settled")
    assert settled["checkpoint"].isna().all()
    assert not (scanned / "run" / "checkpoints" / "b" / "project").exists()


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"checkpoints": ["weights/step0.safetensors"]}, SpecError, "is the only one"),
        ({"checkpoints": ["weights/none*"]}, ModelError, "matches no file"),
        (
            {"checkpoints": ["weights/*", "wide.safetensors"]},
            ModelError,
            r"of another network .* fc.bias: \(5,\) -> \(7,\)",
        ),
        ({"checkpoints": ["weights/*", "other.safetensors"]}, ModelError, "do not fit"),
        ({"checkpoints": ["weights/*", "gone.pth"]}, ModelError, "gone.pth does not exist"),
        ({"layers": {"include": ["rellu1"]}}, LayerError, "nearest: relu1"),
        ({"units": "70-80"}, LayerError, "choices: 0 to 7"),
    ],
)
def test_evolve_that_cannot_be_done_begins_nothing(
    scanned: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, object],
    error: type[Exception],
    says: str,
):
    monkeypatch.chdir(scanned)
    evolving.write(scanned, {"wide": nets.small(7).state_dict(), "other": nets.flat().state_dict()})

    with pytest.raises(error, match=says):
        engine.run(_spec(scanned, **given))
    assert sorted(path.name for path in (scanned / "run").iterdir()) == ["scan"]


def test_evolve_of_other_checkpoints_is_refused_before_they_are_scanned(home: Path, scanned: Path):
    shutil.copytree(home / "run" / "evolve", scanned / "run" / "evolve")
    evolving.write(scanned / "weights", {"step20": evolving.state_at(20)})

    with pytest.raises(PlanMismatchError, match=r"step10 \(.*step20 \(.*delete .*evolve to begin"):
        engine.run(_spec(scanned))

    assert not (scanned / "run" / "checkpoints").exists()


def test_evolve_with_other_weights_under_a_scanned_name_is_refused(home: Path, scanned: Path):
    shutil.copytree(home / "run" / "checkpoints", scanned / "run" / "checkpoints")
    evolving.write(scanned / "weights", {"step3": evolving.state_at(4)})

    with pytest.raises(PlanMismatchError, match="weights_sha256"):
        engine.run(_spec(scanned))


def test_evolve_of_other_pictures_is_refused(
    spec_at: MakeSpec, scanned: Path, pictures: Path, tmp_path: Path
):
    own = tmp_path / "pictures"
    shutil.copytree(pictures, own)
    shutil.rmtree(scanned / "run")
    spec = _scan(spec_at, scanned)
    data = spec.data.model_copy(update={"uri": str(own)})
    engine.run(spec.model_copy(update={"data": data}))
    (own / "ants" / "003.png").unlink()

    with pytest.raises(DatasetError, match="40 images with other names"):
        engine.run(_spec(scanned))


def test_project_of_the_strongest_alone_is_named_in_its_identity(home: Path):
    run = open_run(str(home / "run" / "checkpoints" / "step0"))

    assert run.manifest("project").identity["top"] == 1
    assert ProjectSpec(run="r").top is None
