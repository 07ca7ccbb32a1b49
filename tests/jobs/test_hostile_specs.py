"""Every field of every job's spec wrong in turn: one line, exit status 2, and nothing begun."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import NamedTuple, get_args

import pytest
import torch
from click.testing import CliRunner
from typer.main import get_command

import tests.tiny_nets as nets
from jobs import scan
from jobs.cli import app
from jobs.flags import Flag
from jobs.job_flags import GALLERY_FLAGS, OCCLUDE_FLAGS, PROJECT_FLAGS, SCAN_FLAGS
from schemas.jobs import JOBS, GallerySpec, ImageSelection, OccludeSpec, ProjectSpec, ScanSpec
from schemas.specs import (
    DatasetSpec,
    LayerSelection,
    ModelSpec,
    PreprocessSpec,
    Resources,
    Spec,
)
from tests.tiny_pictures import draw

Wrong = dict[str, str]
"""From a wrong value, in YAML, to what the error says would do."""

HUGE = "9" * 30
LONG = "x" * 200
NUMBER, TEXT, LIST, FINITE = "valid integer", "valid string", "a list is needed", "finite number"
SWITCH, ABOVE, BELOW = "are for switches", "greater than", "less than or equal to"
NO_DRIVER, NO_NULL = "no driver for this kind of URL", "null character"
LAYERS = {"relu1": LIST, "[3]": TEXT, "[rellu1]": "nearest: relu1"}

COUNT: Wrong = {"0": ABOVE, "x": NUMBER, "1.5": NUMBER, "true": SWITCH, HUGE: BELOW, "[3]": NUMBER}
NATURAL: Wrong = {"-1": ABOVE, "x": NUMBER, "1.5": NUMBER, "true": SWITCH, HUGE: BELOW}
PLACE: Wrong = {
    "3": TEXT,
    '""': "at least 1 character",
    r'"\0"': NO_NULL,
    "s4://b/x": NO_DRIVER,
    "s3://key:word@b/x": "give them to fsspec",
}
BESIDE = {'["*"]', "[4, 4]", "false"}
"""Values that are wrong only beside another one, which the error names instead."""

WRONG: dict[type[Spec], dict[str, Wrong]] = {
    ModelSpec: {
        "arch": {
            "3": TEXT,
            '""': "at least 1 character",
            "[vgg16]": TEXT,
            "resnet19": "nearest: resnet18",
            LONG: "choices: ",
            "none.py:small": "not a Python file",
        },
        "weights": PLACE | {"none.pth": "give a file, or 'random'", "RANDOM": "or 'random'"},
        "seed": NATURAL,
        "num_classes": COUNT | {"1000001": BELOW},
        "trust_code": {"maybe": "valid boolean", "2": "valid boolean", "false": "--trust-code"},
    },
    DatasetSpec: {
        "uri": PLACE | {"/nowhere": "give a folder of pictures"},
        "limit": COUNT,
        "max_pixels": COUNT,
        "max_reject_fraction": {
            "-0.1": ABOVE, "1.1": BELOW, ".nan": "", "x": "valid number", "true": SWITCH,
        },
    },
    PreprocessSpec: {
        "resize_px": COUNT | {"8193": BELOW},
        "crop_px": COUNT | {"8193": BELOW, "1": "fails on a frame of 1 px"},
        "interpolation": {"linear": "nearest, bilinear, bicubic", "3": "nearest, bilinear"},
        "value_range": {"0": ABOVE, ".inf": FINITE, "x": "valid number", "true": SWITCH},
        "mean": {"0.5": LIST, "[0, 0]": "item 3", "[.nan, 0, 0]": FINITE, "[0, 0, 0, 0]": "most 3"},
        "std": {"[0, 1, 1]": ABOVE, "[-1, 1, 1]": ABOVE, "[.inf, 1, 1]": FINITE, "[a, 1, 1]": ""},
    },
    LayerSelection: {"include": LAYERS, "exclude": LAYERS | {'["*"]': "leaves no layer"}},
    Resources: {
        "device": {"gpu": "cpu, cuda", "3": "cpu, cuda", "cuda": "take cpu"},
        "threads": COUNT | {"1025": BELOW},
        "workers": COUNT | {"2": "local runs one worker"},
        "decode_threads": COUNT | {"257": BELOW},
        "local": {"maybe": "valid boolean", "2": "valid boolean"},
        "ray_address": {"3": TEXT, '""': "at least 1 character", "ray://h:1": "local and"},
    },
    ScanSpec: {
        "out": PLACE,
        "top": COUNT | {"101": BELOW},
        "batch_size": COUNT | {"65537": BELOW},
        "shard_size": COUNT | {"65": "multiple of batch_size"},
        "precision": {"fp64": "fp32, tf32, bf16", "tf32": "take fp32 or bf16"},
    },
    ProjectSpec: {
        "run": PLACE,
        "units": {
            "a": "0-63", "-3": "0-63", "9-3": "3-9", "[3]": TEXT, "77-80": "choices: 0 to 7",
            f'"{HUGE}"': "0-63",
        },
        "rule": {"deconv": "deconvnet, guided, gradient"},
        "tolerance": {"0": ABOVE, ".inf": FINITE, ".nan": "", "x": "valid number", "true": SWITCH},
        "batch_size": COUNT | {"65537": BELOW},
        "picture_px": COUNT | {"15": ABOVE, "8193": BELOW},
    },
    ImageSelection: {
        "ids": {"3": LIST, "[-1]": ABOVE, "[9]": "choices: 0 to 1", "[true]": SWITCH},
        "classes": {"ants": LIST, "[[1]]": TEXT, "[aunts]": "nearest: ants"},
        "of_unit": {
            "relu1": "relu1:3", "rellu1:0": "nearest: relu1", "relu1:77": "choices: 0 to 5",
            f"relu1:{HUGE}": "relu1:3",
        },
        "sample": COUNT,
        "seed": NATURAL,
    },
    OccludeSpec: {
        "run": PLACE,
        "window_px": {
            "16": LIST, "[]": "at least 1", "[0]": "16x24", "[25]": "24 x 24", "[true]": SWITCH,
            f'["{HUGE}"]': "16x24", '["0x4"]': "16x24", "[8, 8]": "give each once",
        },
        "stride_px": {
            "4": LIST, "[]": "at least 1", "[0]": ABOVE, "[8193]": BELOW, "[4, 4]": "one for all",
        },
        "fill": {"pink": "grey, mean, blur", '"#12"': "grey, mean, blur"},
        "target": NATURAL | {"5": "choices: 0 to 4"},
        "layer": {"3": TEXT, '""': "choices: input", "rellu1": "nearest: relu1"},
        "boxes": PLACE | {"/nowhere.csv": "check the path"},
        "engine": {"fast": "auto, incremental, dense"},
        "batch_bytes": COUNT | {"1048575": ABOVE},
    },
    GallerySpec: {
        "run": PLACE | {"s4://b/x": "local folder"},
        "out": PLACE | {"s4://b/x": "local folder", "/dev/null": "give another one"},
        "sheet_px": COUNT | {"15": ABOVE, "257": BELOW},
    },
}  # fmt: skip

COMMAND = get_command(app)
FLAGS = {
    "scan": SCAN_FLAGS,
    "project": PROJECT_FLAGS,
    "occlude": OCCLUDE_FLAGS,
    "gallery": GALLERY_FLAGS,
}
FREE = {"arch", "weights", "uri", "out", "boxes", "ray_address"}
"""Fields of any text but none at all."""


class Place(NamedTuple):
    """A field inside a job's spec; a part is a field that holds fields."""

    job: str
    path: str
    owner: type[Spec]
    name: str
    part: type[Spec] | None

    @property
    def nullable(self) -> bool:
        return NoneType in get_args(self.owner.model_fields[self.name].annotation)


def _places(job: str, owner: type[Spec], above: str = "") -> Iterator[Place]:
    for name, info in owner.model_fields.items():
        options = (info.annotation, *get_args(info.annotation))
        parts = [one for one in options if isinstance(one, type) and issubclass(one, Spec)]
        yield Place(job, above + name, owner, name, parts[0] if parts else None)
        for part in parts:
            yield from _places(job, part, f"{above}{name}.")


PLACES = [place for job, model in JOBS.items() for place in _places(job, model)]
LEAVES = [place for place in PLACES if place.part is None]
PARTS = [place for place in PLACES if place.part is not None]
CASES = [
    (place, value, says)
    for place in LEAVES
    for value, says in WRONG.get(place.owner, {}).get(place.name, {}).items()
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures and a published scan of them."""
    folder = tmp_path_factory.mktemp("home")
    draw(folder / "pictures" / "ants", 1)
    draw(folder / "pictures" / "bees", 1)
    threads = torch.get_num_threads()
    fields = {
        "model": {"arch": f"{nets.__file__}:small", "weights": "random", "trust_code": True},
        "data": {"uri": str(folder / "pictures")},
        "out": str(folder / "run"),
        "preprocess": {"resize_px": None, "crop_px": 24},
        "resources": {"local": True, "threads": 1},
    }
    scan.run(ScanSpec.model_validate(fields))
    torch.set_num_threads(threads)
    return folder


def _refused(home: Path, job: str, *arguments: str) -> str:
    """The one line that a job says which refuses its arguments, without a trace of it on disk."""
    words = [job, str(home / "run")]
    if job == "scan":
        words = [job, "--arch", f"{nets.__file__}:small", "--weights", "random", "--trust-code"]
        words += ["--data", str(home / "pictures"), "--out", str(home / "new")]
        words += ["--set", "preprocess={resize_px: null, crop_px: 24}"]
    if job != "gallery":
        words.append("--local")
    before = sorted(home.rglob("*"))

    result = CliRunner().invoke(COMMAND, [*words, *arguments])

    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    assert sorted(home.rglob("*")) == before
    line = result.stderr
    assert line.startswith("unitscope: ")
    assert line.count("\n") == 1
    assert len(line) < 700
    return line


def _names(line: str, path: str) -> bool:
    """Whether a line names a field, or the part that it stands in."""
    return any(step in line.replace("-", "_") for step in path.split("."))


def test_every_field_of_every_spec_has_wrong_values_here():
    named = {(owner, name) for owner, fields in WRONG.items() for name in fields}

    assert {(place.owner, place.name) for place in LEAVES} == named


@pytest.mark.parametrize(
    ("place", "value", "says"),
    CASES,
    ids=[f"{place.job}-{place.path}={value[:20]}" for place, value, _ in CASES],
)
def test_wrong_value_is_refused_with_its_field_and_what_would_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: Place, value: str, says: str
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    line = _refused(home, place.job, "--set", f"{place.path}={value}")

    bare = value.strip('["]')
    assert says in line
    assert line.startswith(f"unitscope: {bare}") or _names(line, place.path)
    assert "key:word" not in line
    if "@" not in value and value not in BESIDE:
        assert bare in line


@pytest.mark.parametrize("place", LEAVES, ids=lambda place: f"{place.job}-{place.path}")
def test_misspelt_field_is_refused_with_the_nearest(home: Path, place: Place):
    line = _refused(home, place.job, "--set", f"{place.path}x=3")

    assert line.startswith(f"unitscope: {place.path}x: no such field")
    assert place.name in line.partition("nearest: ")[2]


@pytest.mark.parametrize(
    "place",
    [place for place in PLACES if not place.nullable],
    ids=lambda place: f"{place.job}-{place.path}",
)
def test_null_is_refused_where_a_value_is_needed(home: Path, place: Place):
    line = _refused(home, place.job, "--set", f"{place.path}=null")

    assert line.startswith(f"unitscope: {place.path}")
    assert "got null" in line or "is missing" in line


@pytest.mark.parametrize("place", PARTS, ids=lambda place: f"{place.job}-{place.path}")
def test_part_that_is_no_mapping_is_refused_with_its_fields(home: Path, place: Place):
    line = _refused(home, place.job, "--set", f"{place.path}=3")

    assert line.startswith(f"unitscope: {place.path}: a mapping is needed, got 3")
    assert place.part is not None
    assert line.endswith(f"its fields: {', '.join(place.part.model_fields)}\n")


@pytest.mark.parametrize(
    ("job", "flag"),
    [(job, flag) for job in FLAGS for flag in FLAGS[job] if flag.kind in ("text", "list")],
    ids=lambda value: value.name if isinstance(value, Flag) else value,
)
def test_wrong_flag_is_refused_with_its_name(home: Path, job: str, flag: Flag):
    value = "" if flag.field.rpartition(".")[2] in FREE else "xx"

    line = _refused(home, job, flag.name, value)

    assert _names(line, flag.field) or flag.name in line
    assert repr(value) in line
