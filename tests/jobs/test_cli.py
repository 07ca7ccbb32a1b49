from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner, Result

import jobs
from jobs import engine
from jobs.cli import app
from pipeline.store import JobFolder, JobStore
from schemas.jobs.occlude import OcclusionFigure
from schemas.jobs.scan import SCAN_LAYERS, ScanSpec, UnitsFigure
from schemas.manifest import Manifest, Provenance
from schemas.specs import ModelSpec, PreprocessSpec
from tests import made_up_run

ROOT = Path(__file__).parents[2]
REQUIRED = ["--arch", "vgg16", "--data", "d", "--out"]
PROVENANCE = Provenance(
    created_at="2026-11-24T03:00:00Z",
    argv=(),
    unitscope_version="0",
    git_commit=None,
    git_dirty=None,
    python="3.11",
    versions={},
    platform="linux",
    device="cpu",
)
LAYER: dict[str, object] = {
    "layer": "features.1",
    "position": 0,
    "kind": "relu",
    "activation": True,
    "units": 3,
    "map_height": 1,
    "map_width": 1,
    "stride_y": 1,
    "stride_x": 1,
    "field_height": 3,
    "field_width": 3,
    "gated": False,
    "whole_frame": None,
}


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def _replace(
    monkeypatch: pytest.MonkeyPatch, package: ModuleType, name: str, **functions: object
) -> None:
    fake = SimpleNamespace(**functions)
    monkeypatch.setitem(sys.modules, f"{package.__name__}.{name}", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(package, name, fake, raising=False)


def _once(spec: ScanSpec) -> Manifest:
    """As `engine.run`: a published scan is only read."""
    return JobStore(JobFolder(spec.out, "scan")).manifest() or _publish(spec)


def _publish(spec: ScanSpec) -> Manifest:
    store = JobStore(JobFolder(spec.out, "scan"))
    rows = pa.Table.from_pylist([LAYER], schema=SCAN_LAYERS.schema)
    layers = store.put_table(SCAN_LAYERS, "part-0.parquet", rows)
    return store.publish(
        Manifest(
            job="scan",
            fingerprint="f",
            identity={},
            spec={},
            tables={"layers": (layers,)},
            counts={"images": 1200, "rejects": 34},
            provenance=PROVENANCE,
        )
    )


def _raising(error: BaseException) -> Callable[[object], None]:
    def run(_: object) -> None:
        raise error

    return run


def _fresh(code: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=check
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["scan", "--help"], ["submit", "scan", "--help"], ["schema", "scan"]]
)
def test_cli_help_and_schema_import_nothing_heavy(arguments: list[str]):
    heavy = ["torch", "torchvision", "ray", "pandas", "pyarrow"]
    done = _fresh(
        "import sys\nfrom jobs.cli import app\n"
        f"try:\n    app({arguments})\nexcept SystemExit as end:\n    assert not end.code, end\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_cli_help_names_every_command_and_each_gives_an_example():
    words = _invoke("--help").stdout
    for name in ("scan", "layers", "status", "show", "gallery", "schema", "submit"):
        assert name in words
        text = _invoke(*(["submit", "scan"] if name == "submit" else [name]), "--help").stdout
        assert "Example:" in text


def test_cli_module_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage: unitscope" in done.stdout


def test_scan_prints_what_was_done_and_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "run", _once)
    first = _invoke("scan", *REQUIRED, str(tmp_path))
    assert first.exit_code == 0
    for words in ("1,200 images", "34 rejects", "images/s", str(tmp_path), "--layer features.1"):
        assert words in first.stdout
    again = _invoke("scan", *REQUIRED, str(tmp_path))
    assert again.exit_code == 0
    assert "already done (2026-11-24" in again.stdout
    assert "images/s" not in again.stdout


def test_main_interrupt_signal_exits_with_130_and_no_traceback(tmp_path: Path):
    code = (
        "import sys, time, types, jobs\nfrom pathlib import Path\n"
        f"def run(spec):\n    Path({str(tmp_path / 'begun')!r}).touch()\n    time.sleep(600)\n"
        "jobs.scan = sys.modules['jobs.scan'] = types.SimpleNamespace(plan=run)\n"
        f"sys.argv = ['unitscope', 'scan', *{[*REQUIRED, str(tmp_path / 'run')]}]\n"
        "from jobs.cli import main\nmain()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        while not (tmp_path / "begun").exists() and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert errors == b"unitscope: interrupted; run again to resume\n"


def test_main_unexpected_error_has_a_traceback_and_status_3(tmp_path: Path):
    done = _fresh(
        "import sys, types, jobs\n"
        "jobs.scan = sys.modules['jobs.scan'] = types.SimpleNamespace(plan=lambda spec: 1 / 0)\n"
        f"sys.argv = ['unitscope', 'scan', *{[*REQUIRED, str(tmp_path)]}]\n"
        "from jobs.cli import main\nmain()",
        check=False,
    )
    assert done.returncode == 3
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("unitscope: this is an error of Unitscope")


def test_status_reader_that_leaves_is_no_error(tmp_path: Path):
    _publish(
        ScanSpec.model_validate(
            {"model": {"arch": "a"}, "data": {"uri": "d"}, "out": str(tmp_path)}
        )
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "status", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "--nonsense"],
        ["nonsense"],
        ["scan", "--top"],
        ["show", "runs/a"],
        ["scan", "--arch", "vgg16"],
        ["schema", "scam"],
        ["scan", "--spec", "absent.yaml"],
    ],
)
def test_cli_bad_arguments_exit_with_2(arguments: list[str]):
    result = _invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_scan_misspelt_field_names_the_nearest():
    result = _invoke("scan", *REQUIRED, "r", "--set", "bach_size=3")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("unitscope: bach_size: no such field")
    assert "batch_size" in result.stderr


def test_scan_print_spec_prints_yaml_and_runs_nothing(monkeypatch: pytest.MonkeyPatch):
    _replace(monkeypatch, jobs, "scan", run=_raising(AssertionError("ran")))
    result = _invoke("scan", *REQUIRED, "r", "--top", "4", "--print-spec")
    assert result.exit_code == 0
    assert ScanSpec.model_validate(yaml.safe_load(result.stdout)).top == 4


def test_schema_scan_is_the_spec_s_json_schema():
    assert json.loads(_invoke("schema", "scan").stdout) == ScanSpec.model_json_schema()


def test_status_of_a_run_as_text_and_json(tmp_path: Path):
    _publish(
        ScanSpec.model_validate(
            {"model": {"arch": "a"}, "data": {"uri": "d"}, "out": str(tmp_path)}
        )
    )
    assert "scan: published 2026-11-24" in _invoke("status", str(tmp_path)).stdout
    parsed = json.loads(_invoke("status", str(tmp_path), "--json").stdout)
    assert parsed["jobs"][0]["counts"] == {"images": 1200, "rejects": 34}
    absent = _invoke("status", str(tmp_path / "absent"))
    assert (absent.exit_code, absent.stdout) == (3, "")


def test_layers_lists_the_selected_and_all_on_request(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[ModelSpec, PreprocessSpec | None]] = []

    def table(model: ModelSpec, preprocess: PreprocessSpec | None) -> pd.DataFrame:
        seen.append((model, preprocess))
        rows = [LAYER | {"selected": True}, LAYER | {"layer": "features.0", "selected": False}]
        return pd.DataFrame(rows)

    monkeypatch.setattr("jobs.layers.table", table)
    some = _invoke("layers", "--arch", "vgg16", "--weights", "random")
    assert "features.1" in some.stdout
    assert "features.0" not in some.stdout
    assert "features.0" in _invoke("layers", "--arch", "vgg16", "--all").stdout
    parsed = json.loads(
        _invoke("layers", "--arch", "v", "--set", "preprocess.crop_px=32", "--json").stdout
    )
    assert [(row["layer"], row["units"], row["whole_frame"]) for row in parsed] == [
        ("features.1", 3, None)
    ]
    assert seen[0] == (ModelSpec(arch="vgg16", weights="random"), None)
    assert seen[-1] == (ModelSpec(arch="v"), PreprocessSpec(crop_px=32))


def test_show_passes_one_unit_or_a_sheet(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[object, ...]] = []

    def run(url: str, job: str, asked: UnitsFigure, out: str) -> tuple[int, int]:
        seen.append((url, job, asked, out))
        return 10, 20

    monkeypatch.setattr("jobs.show.draw", run)
    result = _invoke("show", "r", "--layer", "f.1", "--unit", "7", "-o", "u.png")
    assert result.stdout == "u.png: 10 x 20 pixels\n"
    _invoke("show", "r", "--layer", "f.1", "--out", "s.png")
    _invoke("show", "r", "--layer", "f.1", "--units", "8-9", "-o", "s.png")
    assert seen == [
        ("r", "scan", UnitsFigure(layer="f.1", unit=7), "u.png"),
        ("r", "scan", UnitsFigure(layer="f.1"), "s.png"),
        ("r", "scan", UnitsFigure(layer="f.1", units="8-9"), "s.png"),
    ]


@pytest.mark.parametrize("units", ["", "-", "3-", "-3", "a-b", "9-3", "1,2"])
def test_show_refuses_what_is_no_range_of_units(units: str):
    result = _invoke("show", "r", "--layer", "f.1", f"--units={units}", "-o", "s.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--units" in result.stderr


def test_show_passes_an_occluded_image(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[object, ...]] = []

    def run(url: str, job: str, asked: OcclusionFigure, out: str) -> tuple[int, int]:
        seen.append((url, job, asked, out))
        return 10, 20

    monkeypatch.setattr("jobs.show.draw", run)
    result = _invoke("show", "r", "--occlusion", "7", "-o", "u.png")
    assert (result.exit_code, result.stdout) == (0, "u.png: 10 x 20 pixels\n")
    assert seen == [("r", "occlude", OcclusionFigure(occlusion=7), "u.png")]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--layer", "f.1", "--occlusion", "7"],
        ["--occlusion", "7", "--unit", "3"],
        ["--unit", "3"],
    ],
)
def test_show_takes_a_layer_or_an_occluded_image_and_not_both(arguments: list[str]):
    result = _invoke("show", "r", *arguments, "-o", "u.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("unitscope: show draws one thing: give --layer")


def test_show_of_a_figure_of_the_paper_asks_for_the_job_that_it_is_of(
    monkeypatch: pytest.MonkeyPatch,
):
    seen = []

    def run(url: str, job: str, asked: OcclusionFigure | None, out: str) -> tuple[int, int]:
        seen.append((url, job, asked, out))
        return 10, 20

    monkeypatch.setattr("jobs.show.draw", run)
    assert _invoke("show", "r", "--figure", "7", "-o", "u.pdf").exit_code == 0
    assert seen == [("r", "occlude", None, "u.pdf")]
    unknown = _invoke("show", "r", "--figure", "3", "-o", "u.pdf")
    assert (unknown.exit_code, unknown.stderr.count("choices: 2, 4, 5, 6, 7, table1")) == (2, 1)
    both = _invoke("show", "r", "--figure", "7", "--occlusion", "3", "-o", "u.pdf")
    assert (both.exit_code, len(seen)) == (2, 1)
    assert "give no other picture with it" in both.stderr


def test_gallery_writes_pages_and_says_what_to_open(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2, "conv2": 3})
    arguments = ("gallery", url, "--out", str(tmp_path / "pages"), "--sheet-px", "16")
    result = _invoke(*arguments, "--layers", "conv2")
    assert result.exit_code == 0
    assert "layers 1, units 3" in result.stdout
    assert f"open {tmp_path / 'pages' / 'index.html'}" in result.stdout
    assert (tmp_path / "pages" / "layers" / "001-conv2.html").is_file()
    refused = _invoke(*arguments, "--layers", "conv3")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "nearest: conv" in refused.stderr
