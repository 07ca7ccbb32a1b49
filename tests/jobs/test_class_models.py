"""Class models as a job: which targets, one plan, and the same bytes however the work is cut."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tests.tiny_nets as nets
from jobs import engine
from jobs.class_models import plan
from jobs.published_scan import open_published_scan
from pipeline.store import open_run
from schemas.errors import LayerError, PlanMismatchError, SpecError
from schemas.jobs.class_models import ClassModelsSpec
from tests.jobs.conftest import MakeSpec

Digests = Callable[[str | Path], dict[str, str]]
LOCAL = {"local": True, "threads": 1}


def _spec(run: Path, **changes: object) -> ClassModelsSpec:
    fields = {"run": str(run), "steps": 4, "resources": LOCAL}
    return ClassModelsSpec.model_validate(fields | changes)


@pytest.fixture(scope="module")
def scanned(spec_at: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published scan, which no test changes."""
    run = tmp_path_factory.mktemp("scanned") / "run"
    engine.run(spec_at(run))
    return run


@pytest.fixture
def run(scanned: Path, tmp_path: Path) -> Path:
    """The scan in a folder of the test's own."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "scan").symlink_to(scanned / "scan")
    return tmp_path / "run"


def _targets(run: Path, **given: object) -> list[tuple[str, int, int, str | None]]:
    rows = plan(_spec(run, **given), open_published_scan(str(run))).items.to_pylist()
    return [tuple(row.values()) for row in rows]


def test_plan_names_classes_by_number_range_and_name_and_units_by_glob(run: Path):
    found = _targets(run, classes=["bees", "3-4", 3], units=["relu*:5-9", "relu2:1"])
    assert found == [
        ("relu1", 5, 0, None),
        ("relu2", 1, 0, None),
        ("relu2", 5, 0, None), ("relu2", 6, 0, None), ("relu2", 7, 0, None),
        ("fc", 1, 0, "bees"), ("fc", 3, 0, None), ("fc", 4, 0, None),
    ]  # fmt: skip


def test_plan_of_units_of_the_scores_are_classes(run: Path):
    assert _targets(run, units=["fc:0"], seeds=2) == [("fc", 0, 0, "ants"), ("fc", 0, 1, "ants")]


def test_plan_of_nothing_named_draws_classes_by_the_seed(run: Path):
    assert len(_targets(run, sample=3)) == 3
    assert {unit for _, unit, *_ in _targets(run)} == set(range(5))
    assert {unit for _, unit, *_ in _targets(run, sample=None)} == set(range(5))
    drawn = [[unit for _, unit, *_ in _targets(run, sample=2, seed=seed)] for seed in range(8)]
    assert any(each != drawn[0] for each in drawn)
    assert all(each == sorted(each) for each in drawn)


@pytest.mark.parametrize(
    ("given", "size", "shards"),
    [
        ({}, 5, 1),
        ({"batch_size": 4}, 3, 2),
        ({"batch_size": 2}, 2, 3),
        ({"batch_size": 8, "batch_bytes": 2**20}, 5, 1),
    ],
)
def test_plan_fills_its_passes(run: Path, given: dict[str, object], size: int, shards: int):
    work = plan(_spec(run, classes=["0-4"], **given), open_published_scan(str(run)))
    assert work.batch_size == size == work.identity["batch_size"]
    assert -(-work.items.num_rows // work.batch_size) == shards


def test_class_models_of_classes_and_units_are_published(run: Path):
    spec = _spec(run, classes=["ants"], units=["relu2:0-1"], seeds=2, steps=40)
    report = engine.run_and_report(spec)
    assert "class-models done" in report.text
    assert "6 images of classes and units" in report.text
    rows = open_run(str(run)).table("models", job="class-models")
    assert rows["layer"].tolist() == ["relu2"] * 4 + ["fc"] * 2
    assert rows["class_name"].tolist()[-1] == "ants"
    curve = open_run(str(run)).table("ascent", job="class-models", layer="relu2", unit=0)
    assert curve["step"].tolist() == [*range(0, 40, 2), 40] * 2


def test_class_models_are_the_same_whatever_the_shards(
    run: Path, scanned: Path, tmp_path: Path, digests: Digests, monkeypatch: pytest.MonkeyPatch
):
    spec = _spec(run, units=["relu*:0-4"], batch_size=2)
    engine.run(spec)
    other = tmp_path / "other"
    other.mkdir()
    (other / "scan").symlink_to(scanned / "scan")
    monkeypatch.setattr(engine, "default_shard_size", lambda count, _: count)
    manifest = engine.run(spec.model_copy(update={"run": str(other)}))
    assert manifest.counts["shards"] == 1
    for table in ("models", "ascent"):
        assert digests(run / "class-models" / table) == digests(other / "class-models" / table)


def test_class_models_that_miss_their_target_are_said(run: Path):
    report = engine.run_and_report(_spec(run, classes=["0-4"], l2=1e6))
    [warning] = report.warnings
    assert re.match(r"[1-5] of 5 images miss their target: .* a smaller --l2", warning)


@pytest.fixture
def mortal(spec_at: MakeSpec, tmp_path: Path) -> tuple[Path, Path]:
    """Two equal scans of a network that can be made to die; see `tiny_nets.CRASH`."""
    copy = tmp_path / "nets.py"
    copy.write_bytes(Path(nets.__file__).read_bytes())
    runs = tmp_path / "whole", tmp_path / "killed"
    for folder in runs:
        engine.run(spec_at(folder, net="mortal", nets_file=copy))
    return runs


MANY = {"units": ["relu2:0-7"], "batch_size": 2}


def test_class_models_killed_midway_resume_to_the_same_tables(
    mortal: tuple[Path, Path], tmp_path: Path, digests: Digests
):
    engine.run(_spec(mortal[0], **MANY))
    spec = _spec(mortal[1], **MANY)
    done = mortal[1] / "class-models" / "_work" / "done"
    (tmp_path / nets.CRASH).write_text(f"{done}\n1")
    code = (
        "import sys; from jobs import engine;"
        "from schemas.jobs.class_models import ClassModelsSpec;"
        "engine.run(ClassModelsSpec.model_validate_json(sys.argv[1]))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, spec.model_dump_json()],
        env=os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[1])},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list(done.glob("*.json"))) == 1
    engine.run(spec)
    for table in ("models", "ascent"):
        folders = [folder / "class-models" / table for folder in mortal]
        assert digests(folders[0]) == digests(folders[1])


@pytest.mark.ray
def test_class_models_on_ray_with_a_worker_killed_give_the_same_tables(
    mortal: tuple[Path, Path], tmp_path: Path, digests: Digests
):
    pytest.importorskip("ray", reason="needs ray")
    engine.run(_spec(mortal[0], **MANY))
    order = tmp_path / nets.CRASH
    order.write_text(f"{mortal[1] / 'class-models' / '_work' / 'done'}\n1")
    manifest = engine.run(_spec(mortal[1], **MANY, resources={"workers": 2, "threads": 1}))
    assert not order.exists()
    assert manifest.counts["retries"] == 1
    for table in ("models", "ascent"):
        folders = [folder / "class-models" / table for folder in mortal]
        assert digests(folders[0]) == digests(folders[1])


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"classes": [5]}, SpecError, "5 is no class of the network.*choices: 0 to 4"),
        ({"classes": ["3-5"]}, SpecError, "choices: 0 to 4"),
        ({"classes": ["aunts"]}, SpecError, "no class 'aunts'; nearest: ants.* or a number"),
        ({"units": ["rellu1:0"]}, LayerError, "nearest: relu1"),
        ({"units": ["relu*:8-9"]}, LayerError, "names no unit; choices: 0 to 7"),
    ],
)
def test_class_models_that_cannot_be_found_begin_nothing(
    run: Path, given: dict[str, object], error: type[Exception], says: str
):
    with pytest.raises(error, match=says):
        engine.run(_spec(run, **given))
    assert not (run / "class-models").exists()


def test_class_models_with_another_rate_are_another_plan(run: Path):
    engine.run(_spec(run, classes=["ants"]))
    engine.run(_spec(run, classes=[0]))
    with pytest.raises(PlanMismatchError, match="rate"):
        engine.run(_spec(run, classes=["ants"], rate=0.1))


def test_class_models_of_a_network_that_cannot_be_traced(spec_at: MakeSpec, tmp_path: Path):
    layers, data = {"exclude": ["dark"]}, {"max_reject_fraction": 0.1}
    run = tmp_path / "run"
    engine.run(spec_at(run, net="forked", data=data, layers=layers))
    engine.run(_spec(run, classes=[1, 2]))
    rows = open_run(str(run)).table("models", job="class-models")
    assert rows["raised"].tolist() == ["output"] * 2
    assert rows["p_target"].notna().all()
