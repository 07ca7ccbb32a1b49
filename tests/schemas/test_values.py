"""Values of specs: which texts name files, and what a range of units holds."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.values import (
    Location,
    UnitName,
    UnitRange,
    bounds,
    in_words,
    python_file,
    weights_file,
)


@pytest.mark.parametrize("name", ["random", "DEFAULT", "IMAGENET1K_V1"])
def test_weights_by_name_are_no_file(name: str):
    assert weights_file(name) is None


@pytest.mark.parametrize("place", ["w.pth", "s3://b/W", "Random", "/W.safetensors"])
def test_weights_by_path_are_a_file(place: str):
    assert weights_file(place) == place


@pytest.mark.parametrize(
    ("arch", "place"),
    [("nets/mine.py:build", "nets/mine.py"), ("vgg16", None), ("package.mine:build", None)],
)
def test_arch_names_a_file_only_as_one(arch: str, place: str | None):
    assert python_file(arch) == place


@pytest.mark.parametrize(("text", "units"), [("7", (7, 7)), ("0-63", (0, 63))])
def test_bounds_of_units_are_the_first_and_the_last(text: str, units: tuple[int, int]):
    assert bounds(TypeAdapter(UnitRange).validate_python(text)) == units


@pytest.mark.parametrize("text", ["9-3", "a", "3-", ""])
def test_range_that_is_none_is_refused(text: str):
    with pytest.raises(ValidationError):
        TypeAdapter(UnitRange).validate_python(text)


def test_value_of_another_form_is_refused_in_words():
    with pytest.raises(ValidationError, match="a layer and a unit, relu1:3, is needed"):
        TypeAdapter(UnitName).validate_python("relu1")
    assert in_words("a", "b").func("a") == "a"


@pytest.mark.parametrize("url", ["s3://key:secret@b/x", "a\0b", ""])
def test_location_with_a_secret_or_a_null_or_nothing_is_refused(url: str):
    with pytest.raises(ValidationError):
        TypeAdapter(Location).validate_python(url)
