"""The demo: its steps are commands that exist, and a small one runs to the end, and again."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from jobs import demo
from jobs.cli import app
from jobs.demo import Files, find_units, last_words, show_step, steps
from pipeline.demo.choose_units import ChosenUnit
from pipeline.demo.scenes import CLASSES
from pipeline.demo.small_net import ARCH, Training
from pipeline.store import open_run

SMALL = ("--pictures", "50", "--minutes", "0.1", "--local")


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def _scan_only(files: Files, *, local: bool) -> list[list[str]]:
    return steps(files, local=local)[:1]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A demo of fifty pictures and one pass, up to the scan, and what it said."""
    out = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "steps", _scan_only)
        return out, _invoke("demo", "--out", str(out), *SMALL)


@pytest.mark.parametrize("local", [True, False])
def test_steps_are_commands_with_a_spec_that_holds(local: bool):
    for step in steps(Files("runs/a b"), local=local):
        shown = _invoke(*step, "--print-spec")

        assert shown.exit_code == 0, shown.stderr
        assert "runs/a b" in shown.stdout
        if step[0] != "gallery":
            assert f"local: {str(local).lower()}" in shown.stdout


def test_show_step_parses():
    step = show_step(Files("runs/a"), ChosenUnit("relu3", 7, "wheel", 8, 9))
    command = typer.main.get_command(app).commands["show"]

    given = command.make_context("show", step[1:]).params

    assert (step[0], given["run"], given["layer"], given["unit"]) == (
        "show",
        "runs/a",
        "relu3",
        "7",
    )
    assert given["out"] == "runs/a/wheel-relu3-7.png"


def test_demo_ends_in_a_published_scan_of_its_pictures(ran: tuple[Path, Result]):
    out, result = ran

    assert result.exit_code == 0, result.output
    images = open_run(str(out)).table("images", job="scan")
    listed = pd.read_csv(out / "pictures/manifest.csv")
    assert images["class_name"].tolist() == listed["class_name"].tolist()
    assert open_run(str(out)).manifest("scan").identity["arch"] == ARCH


def test_demo_prints_each_command_before_it_runs(ran: tuple[Path, Result]):
    out, result = ran

    lines = result.stdout.splitlines()
    scan = next(place for place, line in enumerate(lines) if line.startswith("$ unitscope scan"))
    assert lines[scan] == (
        f"$ unitscope scan --arch {ARCH} --weights {out}/{ARCH}.safetensors "
        f"--data {out}/pictures/manifest.csv --out {out} --local"
    )
    assert lines[scan + 1].startswith("scan done in")
    assert lines[0].startswith("This draws 50 pictures")
    assert "pass 1 of 1: loss" in result.stdout
    assert "of the other fifth right" in result.stdout


def test_demo_draws_the_units_that_it_names(ran: tuple[Path, Result]):
    out, result = ran
    units = find_units(Files(str(out)))

    assert 2 <= len(units) <= 4
    assert [unit.layer for unit in units] == sorted({unit.layer for unit in units})
    strongest = [
        open_run(str(out)).table("top_patches", job="scan", layer=unit.layer, unit=unit.unit)
        for unit in units
    ]
    assert len({Path(tops["uri"].iloc[0]).parent.name for tops in strongest}) == len(units)
    assert not {unit.part for unit in units} & set(CLASSES)
    with Image.open(out / "units.png") as picture:
        assert picture.mode == "P"
        assert picture.height == {2: 262, 3: 516, 4: 516}[len(units)]
    for unit in units:
        with Image.open(show_step(Files(str(out)), unit)[-1]) as picture:
            assert min(picture.size) > 100
        assert f"{unit.part}-{unit.layer}-{unit.unit}.png" in result.stdout
    assert result.stdout.endswith(last_words(Files(str(out)), units) + "\n")


def test_telling_units_look_where_the_boxes_are(ran: tuple[Path, Result]):
    """Counted again in pixels of the pictures: 128 become 104, of which 96 are cut."""
    out, _ = ran
    unit = find_units(Files(str(out)))[0]
    tops = open_run(str(out)).table("top_patches", job="scan", layer=unit.layer, unit=unit.unit)
    boxes = pd.read_csv(out / "pictures/boxes.csv")

    hits = 0
    for patch in tops.itertuples():
        own = boxes[[patch.uri.endswith(path) for path in boxes["path"]]]
        own = own[own["part"] == unit.part]
        y0, y1, x0, x1 = (
            (edge + 4) * 128 / 104
            for edge in (patch.box_y0, patch.box_y1, patch.box_x0, patch.box_x1)
        )
        near_y = ((own["y0"] + own["y1"]) / 2 - (y0 + y1) / 2).abs() <= (y1 - y0) / 4 + 1e-9
        near_x = ((own["x0"] + own["x1"]) / 2 - (x0 + x1) / 2).abs() <= (x1 - x0) / 4 + 1e-9
        hits += bool((near_y & near_x).any())

    assert (unit.hits, unit.patches) == (hits, len(tops))


def test_demo_again_says_already_done(ran: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch):
    out, _ = ran
    monkeypatch.setattr(demo, "steps", _scan_only)
    made = {file: file.stat().st_mtime_ns for file in out.rglob("*.*") if file.suffix != ".png"}

    again = _invoke("demo", "--out", str(out), *SMALL)

    assert again.exit_code == 0
    for words in ("already drawn", "already trained", "scan already done"):
        assert words in again.stdout
    assert "pass 1" not in again.stdout
    assert "This draws" not in again.stdout
    assert made == {file: file.stat().st_mtime_ns for file in made}


def test_last_words_tell_how_a_shell_finds_the_command(monkeypatch: pytest.MonkeyPatch):
    told = []
    for found in ("/usr/bin/unitscope", None):
        monkeypatch.setattr(shutil, "which", lambda _name, found=found: found)
        monkeypatch.setattr(sys, "executable", f"{Path.cwd()}/bin/python")
        monkeypatch.setattr(Path, "is_file", lambda _path: True)
        told.append(
            [line for line in last_words(Files("r"), []).splitlines() if "activate" in line]
        )
    assert told == [[], ["  . bin/activate    # so that the shell finds unitscope"]]


def test_last_words_without_telling_units_name_no_picture():
    assert ".png" not in last_words(Files("r"), []).partition("Try next")[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("--pictures", "60"), "lists 50 scenes, 60 are asked for"),
        (("--minutes", "0.5"), "passes=1.*passes=5.*take another --out"),
    ],
)
def test_demo_of_other_settings_in_the_same_folder_is_refused(
    ran: tuple[Path, Result], change: tuple[str, str], says: str
):
    out, _ = ran

    refused = _invoke("demo", "--out", str(out), *SMALL, *change)

    assert refused.exit_code == 2
    assert re.search(says, refused.stderr)


def test_demo_ends_with_the_status_of_the_step_that_failed(
    ran: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
):
    out, _ = ran
    wrong = ["show", str(out), "--layer", "relu9", "-o", "x.png"]
    monkeypatch.setattr(demo, "steps", lambda _files, *, local: [wrong, ["status", f"{local}"]])

    failed = _invoke("demo", "--out", str(out), *SMALL)

    assert failed.exit_code == 2
    assert failed.stderr.count("relu9") == 1
    assert "$ unitscope status" not in failed.stdout


def test_demo_into_a_url_is_refused_before_it_draws(tmp_path: Path):
    refused = _invoke("demo", "--out", "s3://bucket/demo")

    assert refused.exit_code == 2
    assert "a local folder" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_training_follows_from_the_minutes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seen: list[Training] = []

    def stop(_files: Files, training: Training) -> None:
        seen.append(training)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "draw", stop)
    for minutes in ("2", "0.1"):
        assert _invoke("demo", "--out", str(tmp_path), "--minutes", minutes).exit_code == 130

    assert seen == [Training(2000, 20), Training(2000, 1)]
