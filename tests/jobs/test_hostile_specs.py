"""Every field of every job's spec wrong in turn: one line, exit status 2, and nothing begun."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import NamedTuple, get_args

import pytest
import torch
from click.testing import CliRunner
from typer.main import get_command

import tests.tiny_nets as nets
from jobs import engine
from jobs.cli import app
from schemas.flags import BoundFlag, flags_of
from schemas.jobs import JOBS
from schemas.jobs.scan import ScanSpec
from schemas.specs import Spec
from tests import evolving
from tests.tiny_pictures import draw
from tests.wrong_values import BESIDE, SHARED

WRONG = SHARED | {
    info.spec: import_module(f"tests.schemas.jobs.test_{name.replace('-', '_')}").WRONG
    for name, info in JOBS.items()
}
COMMAND = get_command(app)
FLAGS = {name: flags_of(info.spec) for name, info in JOBS.items()}
FREE = {"arch", "weights", "uri", "out", "boxes", "checkpoints", "ray_address"}
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


PLACES = [place for job, info in JOBS.items() for place in _places(job, info.spec)]
LEAVES = [place for place in PLACES if place.part is None]
PARTS = [place for place in PLACES if place.part is not None]
CASES = [
    (place, value, says)
    for place in LEAVES
    for value, says in WRONG.get(place.owner, {}).get(place.name, {}).items()
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures, a published scan of them, and boxes of a part."""
    folder = tmp_path_factory.mktemp("home")
    ant = draw(folder / "pictures" / "ants", 1)[0]
    bee = draw(folder / "pictures" / "bees", 1)[0]
    evolving.write(folder / "weights")
    boxes = [f"{picture},nose,2,2,9,9\n" for picture in (ant, bee)]
    (folder / "parts.csv").write_text(f"path,part,y0,x0,y1,x1\n{''.join(boxes)}")
    threads = torch.get_num_threads()
    fields = {
        "model": {"arch": f"{nets.__file__}:small", "weights": "random", "trust_code": True},
        "data": {"uri": str(folder / "pictures")},
        "out": str(folder / "run"),
        "preprocess": {"resize_px": None, "crop_px": 24},
        "resources": {"local": True, "threads": 1},
    }
    engine.run(ScanSpec.model_validate(fields))
    torch.set_num_threads(threads)
    return folder


def _refused(home: Path, job: str, *arguments: str) -> str:
    """The one line that a job says which refuses its arguments, without a trace of it on disk."""
    words = [job, str(home / "run")]
    if job == "scan":
        words = [job, "--arch", f"{nets.__file__}:small", "--weights", "random", "--trust-code"]
        words += ["--data", str(home / "pictures"), "--out", str(home / "new")]
        words += ["--set", "preprocess={resize_px: null, crop_px: 24}"]
    if job == "correspond":
        words += ["--boxes", str(home / "parts.csv")]
    if job == "evolve":
        words += ["--checkpoints", str(home / "weights" / "*.safetensors")]
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
    ids=lambda value: value.name if isinstance(value, BoundFlag) else value,
)
def test_wrong_flag_is_refused_with_its_name(home: Path, job: str, flag: BoundFlag):
    value = "" if flag.field.rpartition(".")[2] in FREE else "xx"

    line = _refused(home, job, flag.name, value)

    assert _names(line, flag.field) or flag.name in line
    assert repr(value) in line
