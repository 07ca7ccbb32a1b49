from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jobs.flags import keyword, spec_command
from jobs.job_flags import GALLERY_FLAGS, SCAN_FLAGS
from schemas.errors import SpecError
from schemas.jobs import GallerySpec, ScanSpec

REQUIRED = ["--arch", "vgg16", "--data", "d", "--out", "o"]


def _run(arguments: list[str]) -> tuple[list[tuple[ScanSpec, dict[str, object]]], str]:
    seen: list[tuple[ScanSpec, dict[str, object]]] = []
    extra = (keyword("tag", str, typer.Option("--tag")),)
    app = typer.Typer()
    app.command()(
        spec_command(ScanSpec, SCAN_FLAGS, lambda spec, **rest: seen.append((spec, rest)), extra)
    )
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen, result.stdout


def test_spec_command_every_scan_flag_reaches_its_field():
    values = (
        "--seed 3 --trust-code --weights w.pth --limit 5 --top 4 --batch-size 8 --shard-size 16 "
        "--precision bf16 --workers 2 --device cuda --ray auto --tag t --layers a,b.* --layers c"
    )
    [(spec, rest)], _ = _run([*REQUIRED, *values.split()])
    assert spec.model.model_dump() == {
        "arch": "vgg16",
        "weights": "w.pth",
        "seed": 3,
        "num_classes": None,
        "trust_code": True,
    }
    assert (spec.data.uri, spec.data.limit, spec.out) == ("d", 5, "o")
    assert spec.layers.include == ("a", "b.*", "c")
    assert (spec.top, spec.batch_size, spec.shard_size, spec.precision) == (4, 8, 16, "bf16")
    assert (spec.resources.workers, spec.resources.device) == (2, "cuda")
    assert (spec.resources.ray_address, rest) == ("auto", {"tag": "t"})


def test_spec_command_flags_left_out_leave_the_yaml_alone(tmp_path: Path):
    file = tmp_path / "s.yaml"
    file.write_text(
        "model: {arch: a, trust_code: true}\nlayers: {include: [x]}\n"
        "resources: {local: true, workers: 1}\n"
    )
    seen, _ = _run(["--spec", str(file), "--data", "d", "--out", "o"])
    spec = seen[0][0]
    assert (spec.model.trust_code, spec.layers.include) == (True, ("x",))
    assert (spec.resources.local, spec.resources.workers) == (True, 1)
    changed, _ = _run(
        ["--spec", str(file), "--data", "d", "--out", "o", "--workers", "auto", "--no-local"]
    )
    assert (changed[0][0].resources.local, changed[0][0].resources.workers) == (False, None)


def test_spec_command_print_spec_prints_yaml_and_does_nothing(tmp_path: Path):
    seen, printed = _run([*REQUIRED, "--top", "5", "--print-spec"])
    assert seen == []
    file = tmp_path / "again.yaml"
    file.write_text(printed)
    again, _ = _run(["--spec", str(file)])
    direct, _ = _run([*REQUIRED, "--top", "5"])
    assert again == direct


def _run_gallery(*arguments: str) -> GallerySpec:
    seen: list[GallerySpec] = []
    app = typer.Typer()
    app.command()(spec_command(GallerySpec, GALLERY_FLAGS, seen.append))
    CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return seen[0]


def test_spec_command_argument_is_taken_by_its_place_or_from_the_yaml(tmp_path: Path):
    file = tmp_path / "s.yaml"
    file.write_text("run: runs/yaml\n")
    assert _run_gallery("runs/a", "--sheet-px", "32").run == "runs/a"
    assert _run_gallery("--spec", str(file)).run == "runs/yaml"
    assert _run_gallery("runs/a", "--spec", str(file), "--layers", "a,b").run == "runs/a"
    with pytest.raises(SpecError, match="run: is missing; give RUN"):
        _run_gallery("--sheet-px", "32")
