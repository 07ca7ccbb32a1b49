"""The types of the values that specs hold: paths, counts, ranges of units."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.flags import Path
from schemas.secrets import WAY_OUT, holds_credentials


def _no_credentials(url: str) -> str:
    """A URL ends up in tables and pages, so a secret in it would be published."""
    if where := holds_credentials(url):
        raise ValueError(f"{where}; {WAY_OUT}")
    return url


def _no_null(url: str) -> str:
    if "\0" in url:
        raise ValueError("holds a null character, which no path or URL has; take it out")
    return url


def in_words(pattern: str, words: str) -> BeforeValidator:
    """Refuses a text of another form in words, where pydantic would show the pattern."""

    def check(value: object) -> object:
        text = str(value) if isinstance(value, int) else value
        if isinstance(text, str) and not re.fullmatch(pattern, text):
            raise ValueError(words)
        return text

    return BeforeValidator(check)


def weights_file(weights: str) -> str | None:
    """The file that ``weights`` names; None for 'random' and torchvision's names."""
    named = weights == "random" or re.fullmatch(r"[A-Z][A-Z0-9_]*", weights)
    return None if named else weights


def python_file(arch: str) -> str | None:
    """The file that an ``arch`` of the form 'file.py:function' names; None for any other."""
    place, colon, _ = arch.rpartition(":")
    return place if colon and place.endswith(".py") else None


Address = Annotated[
    str, Field(min_length=1), AfterValidator(_no_credentials), AfterValidator(_no_null)
]
"""A URL, or the host and port of a service."""
Location = Annotated[Address, Path()]
"""A local path, or a URL that fsspec understands (``s3://``, ``gs://``, ``https://``)."""
Natural = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A number that tables and torch can hold, from zero."""
Count = Annotated[int, Field(gt=0, le=2**63 - 1)]
"""A number of things, at least one."""
Side = Annotated[int, Field(gt=0, le=8192)]
"""Pixels along one side of a frame, of what moves over it, or of a stored picture."""
BatchSize = Annotated[int, Field(gt=0, le=65_536)]
"""Images in one forward pass."""


_RANGE = r"^[0-9]{1,9}(-[0-9]{1,9})?$"


def bounds(units: str) -> tuple[int, int]:
    """The first and the last unit of a `UnitRange`."""
    first, _, last = units.partition("-")
    return int(first), int(last or first)


def _upwards(text: str) -> str:
    first, last = bounds(text.rpartition(":")[2])
    if last < first:
        raise ValueError(f"a range goes upwards, {last}-{first}")
    return text


UnitRange = Annotated[
    str,
    Field(pattern=_RANGE),
    in_words(_RANGE, "a unit, 3, or a range, 0-63, is needed"),
    AfterValidator(_upwards),
]
"""A unit or a range of them: ``3``, ``0-63``; `bounds` reads it."""
_LAYER_UNITS = r"^.+:[0-9]{1,9}(-[0-9]{1,9})?$"
LayerUnits = Annotated[
    str,
    Field(pattern=_LAYER_UNITS),
    in_words(_LAYER_UNITS, "a glob over layers and units of them, relu*:3 or relu*:0-8, is needed"),
    AfterValidator(_upwards),
]
"""Units of the layers that a glob names: ``features.12*:0-8``."""
_UNIT_NAME = r"^.+:[0-9]{1,9}$"
UnitName = Annotated[
    str, Field(pattern=_UNIT_NAME), in_words(_UNIT_NAME, "a layer and a unit, relu1:3, is needed")
]
"""A unit of a layer: ``features.12:7``."""
ClassName = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A class's name, or its label number."""
