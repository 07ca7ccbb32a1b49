"""Flags come from the fields alone: their names, kinds, defaults, and which values are paths."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from schemas.flags import Flag, Path, default_of, flags_of, paths_of, spec_within
from schemas.specs import Spec


class Inner(Spec):
    globs: tuple[str, ...] = ()
    limit: Annotated[int | None, Flag(panel="Data", metavar="N", null="all")] = Field(
        default=None, description="only so many; null: all"
    )


class Outer(Spec):
    layers: Annotated[Inner, Flag("--layers", part="globs")] = Field(
        default=Inner(globs=("a", "b")), description="globs"
    )
    batch_size: Annotated[int, Flag(metavar="N")] = Field(default=4, description="of batches")
    local: Annotated[bool, Flag(panel="Where it runs")] = Field(default=False, description="here")
    weights: Annotated[str, Path(lambda text: None if text == "random" else text)] = "random"
    boxes: Annotated[str, Path()] | None = None
    files: Annotated[tuple[str, ...], Path()] = ()
    run: Annotated[str, Flag(panel="Arguments"), Path()] = Field(description="the run")


def test_flags_stand_by_panel_with_their_kinds_and_names():
    found = [(flag.name, flag.field, flag.kind) for flag in flags_of(Outer)]

    assert found == [
        ("RUN", "run", "argument"),
        ("--limit", "layers.limit", "text"),
        ("--layers", "layers.globs", "list"),
        ("--batch-size", "batch_size", "text"),
        ("--local", "local", "switch"),
    ]


def test_flag_is_required_exactly_where_its_field_is():
    assert [flag.name for flag in flags_of(Outer) if flag.required] == ["RUN"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("batch_size", 4), ("layers.globs", ("a", "b")), ("layers.limit", None), ("run", None)],
)
def test_default_is_that_of_the_outermost_spec(field: str, value: object):
    assert default_of(Outer, field) == value


def test_paths_are_the_marked_values_that_name_one():
    spec = Outer(run="runs/a", weights="random", boxes="b.csv")

    assert list(paths_of(spec)) == [("boxes", "b.csv"), ("run", "runs/a")]
    several = Outer(run="r", weights="random", files=("a.pth", "b.pth"))
    assert [place for _, place in paths_of(several)] == ["a.pth", "b.pth", "r"]
    assert list(paths_of(Outer(run="r", weights="w.pth"))) == [("weights", "w.pth"), ("run", "r")]


def test_spec_within_finds_the_spec_that_a_field_may_hold():
    assert spec_within(Inner | None) is Inner
    assert spec_within(Annotated[Inner, Flag()]) is Inner
    assert spec_within(int | None) is None
