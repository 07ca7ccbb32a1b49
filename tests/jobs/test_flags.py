from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jobs.flags import help_text, keyword, spec_command
from schemas.errors import SpecError
from schemas.flags import flags_of
from schemas.jobs import JOBS
from schemas.jobs.gallery import GallerySpec
from schemas.jobs.occlude import OccludeSpec
from schemas.jobs.scan import ScanSpec

REQUIRED = ["--arch", "vgg16", "--data", "d", "--out", "o"]


def _run(arguments: list[str]) -> tuple[list[tuple[ScanSpec, dict[str, object]]], str]:
    seen: list[tuple[ScanSpec, dict[str, object]]] = []
    extra = (keyword("tag", str, typer.Option("--tag")),)
    app = typer.Typer()
    app.command()(spec_command(ScanSpec, lambda spec, **rest: seen.append((spec, rest)), extra))
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
    app.command()(spec_command(GallerySpec, seen.append))
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


@pytest.mark.parametrize("job", JOBS)
def test_help_of_every_flag_is_a_sentence(job: str):
    spec = JOBS[job].spec

    texts = [help_text(spec, flag) for flag in flags_of(spec)]

    assert texts
    assert all(re.fullmatch(r"[A-Z'].*\.( \[.+\])?", text) for text in texts)


def test_help_says_what_is_taken_where_nothing_is_given():
    words = {flag.name: help_text(OccludeSpec, flag) for flag in flags_of(OccludeSpec)}

    assert words["--sample"].endswith("leaves. 'all': every one. [100]")
    assert "'auto', or left out: as many as" in words["--workers"]
    assert words["--window-px"].endswith("[16]")
    assert "Left out: the last convolutional one" in words["--layer"]


def _occlude(*arguments: str) -> OccludeSpec:
    seen: list[OccludeSpec] = []
    app = typer.Typer()
    app.command()(spec_command(OccludeSpec, seen.append))
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def test_occlude_flags_reach_their_fields():
    spec = _occlude(
        "runs/a", "--images", "12,40", "--class", "kelpie", "--of-unit", "relu1:3", "--sample", "5",
        "--window-px", "16,8x24", "--stride-px", "4,6", "--fill", "#ff0080", "--target", "7",
        "--layer", "relu1", "--boxes", "b.csv",
    )  # fmt: skip

    assert (spec.images.ids, spec.images.classes) == ((12, 40), ("kelpie",))
    assert (spec.images.of_unit, spec.images.sample) == ("relu1:3", 5)
    assert [window.size for window in spec.windows] == [(16, 16), (8, 24)]
    assert [window.stride_px for window in spec.windows] == [4, 6]
    assert (spec.fill, spec.target, spec.layer, spec.boxes) == ("#ff0080", 7, "relu1", "b.csv")


def test_occlude_sample_of_all_is_no_sample():
    assert _occlude("runs/a").images.sample == 100
    assert _occlude("runs/a", "--sample", "all").images.sample is None
