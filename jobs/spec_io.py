"""Specs from YAML, flags and ``--set``, and back to YAML.

What `dump_spec` prints, `load_spec` reads back to an equal spec; and whatever is wrong
is said in the caller's own words: the field, the value, where it was given, and what would do.
"""

from __future__ import annotations

import enum
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobs.spec_yaml import Path, dotted, parse_value, read_mapping
from schemas.errors import SpecError, nearest
from schemas.flags import options_of, spec_within
from schemas.secrets import mask
from schemas.specs import Spec

AnySpec = TypeVar("AnySpec", bound=Spec)


class _Null(enum.Enum):
    NULL = enum.auto()


NULL: Final = _Null.NULL
"""As a flag's value: the field is set to null (a flag's None says that it was not given)."""


@dataclass
class _Given:
    """The values gathered so far, and where each was given."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, str] = field(default_factory=dict)

    def put(self, path: tuple[str, ...], value: object, origin: str) -> None:
        """Set one value; a later one replaces an earlier one and all below it."""
        into = self.values
        for depth, step in enumerate(path[:-1], start=1):
            if into.get(step) is None:
                into[step] = {}
                self.origins[path[:depth]] = origin
            if not isinstance(into[step], dict):
                raise SpecError(
                    f"{origin}: {dotted(path[:depth])} is {_shown(into[step])} "
                    f"({self.origin(path[:depth])}), which has no field {path[depth]!r}; "
                    "set it whole"
                )
            into = into[step]
        into[path[-1]] = value
        below = [known for known in self.origins if known[: len(path)] == path]
        for known in below:
            del self.origins[known]
        self.origins[path] = origin

    def origin(self, path: Path) -> str:
        """Where the value was given, or else the nearest value around it; may be empty."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, "")


def load_spec(
    model: type[AnySpec],
    *,
    yaml_path: str | None = None,
    flags: Mapping[str, object] | None = None,
    sets: Sequence[str] = (),
    flag_names: Mapping[str, str] | None = None,
) -> AnySpec:
    """Build a spec; of YAML, flags and sets the last wins.

    Args:
        model: the spec's class.
        yaml_path: a local YAML file.
        flags: dotted field -> value; None where the flag was not given, `NULL` for null.
        sets: ``"a.b=value"`` texts, the value in YAML, in the order given.
        flag_names: dotted field -> its flag (``--batch-size``), for the messages.

    Raises:
        SpecError: one line a problem; each names the field, the value, where it was given and the
            valid choices or the nearest name. Nothing in it repeats a credential of a URL.
    """
    names = dict(flag_names or {})
    given = _Given(*read_mapping(yaml_path)) if yaml_path is not None else _Given()
    try:
        for name, value in (flags or {}).items():
            if value is not None:
                path = tuple(name.split("."))
                given.put(path, None if value is NULL else value, names.get(name, name))
        for text in sets:
            _put_set(given, text)
        _open_required_parts(model, given.values)
        return model.model_validate(given.values)
    except ValidationError as error:
        lines = [_problem(model, detail, given, names) for detail in _causes(error)]
        if len(lines) > 1:
            lines = [f"{len(lines)} problems:", *(f"  {line}" for line in lines)]
        raise SpecError(mask("\n".join(lines))) from None
    except SpecError as error:
        raise SpecError(mask(str(error))) from None


def dump_spec(spec: Spec) -> str:
    """YAML of a spec, the fields' descriptions as comments above them; it reads back equal."""
    return "\n".join([f"# {_first_line(type(spec))}", *_yaml_lines(spec)]) + "\n"


def _causes(error: ValidationError) -> list[ErrorDetails]:
    """What is wrong, without the lists that are too short for lack of their own wrong items."""
    details = error.errors()
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail, own in zip(details, places, strict=True)
        if detail["type"] != "too_short"
        or not any(len(place) > len(own) and place[: len(own)] == own for place in places)
    ]


def _put_set(given: _Given, text: str) -> None:
    name, equals, value = text.partition("=")
    path, origin = tuple(name.strip().split(".")), f"--set {_short(text)}"
    if not equals or not all(path):
        raise SpecError(f"{origin}: is not of the form field=value; write --set batch_size=32")
    given.put(path, parse_value(value, origin), origin)


def _open_required_parts(model: type[BaseModel], values: dict[str, Any]) -> None:
    # A missing `model:` alone would say less than the missing `model.arch` inside it.
    for name, info in model.model_fields.items():
        part = spec_within(info.annotation)
        if part is not None and info.is_required():
            inner = values.setdefault(name, {})
            if isinstance(inner, dict):
                _open_required_parts(part, inner)


def _around(model: type[BaseModel], path: Path) -> type[BaseModel]:
    """The model that a path's last step is a field of."""
    for step in path[:-1]:
        info = model.model_fields.get(str(step))
        model = (spec_within(info.annotation) if info else None) or model
    return model


def _problem(
    model: type[BaseModel], detail: ErrorDetails, given: _Given, names: dict[str, str]
) -> str:
    path: Path = detail["loc"]
    name = dotted(path) or "spec"
    origin = given.origin(path)
    place = f" ({origin})" if origin else ""
    kind, value = detail["type"], detail["input"]
    if kind == "missing" and isinstance(path[-1], int):
        return f"{dotted(path[:-1])}: item {path[-1] + 1} is missing, got {_shown(value)}{place}"
    if kind == "missing":
        flag = f"give {names[name]}, or" if name in names else "give"
        return f"{name}: is missing{place}; {flag} {name} in the YAML or by --set {name}=..."
    if kind == "extra_forbidden":
        near = nearest(str(path[-1]), _around(model, path).model_fields)
        return f"{name}: no such field{place}; {near}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        fields = ", ".join((_part_at(model, path) or model).model_fields)
        return f"{name}: a mapping is needed, got {_shown(value)}{place}; its fields: {fields}"
    says = detail["msg"].removeprefix("Value error, ")
    if isinstance(value, BaseModel | dict):
        return f"{name}: {says}{place}"
    choices = _choices(model, path)
    if choices:
        says = f"one of {', '.join(choices)} is needed"
        near = nearest(str(value), choices)
        says += f" ({near})" if near.startswith("nearest") else ""
    elif kind in ("too_short", "too_long"):
        few = kind == "too_short"
        count = detail["ctx"]["min_length" if few else "max_length"]
        says = f"at {'least' if few else 'most'} {count} in the list are needed"
    elif kind.startswith("tuple") or kind == "list_type":
        says = "a list is needed, [a, b] in YAML"
    return f"{name}: {says}, got {_shown(value)}{place}"


def _part_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    info = _around(model, path).model_fields.get(str(path[-1])) if path else None
    return spec_within(info.annotation) if info else None


def _choices(model: type[BaseModel], path: Path) -> list[str]:
    info = _around(model, path).model_fields.get(str(path[-1])) if path else None
    annotation = info.annotation if info else None
    return [
        str(choice)
        for option in options_of(annotation)
        if get_origin(option) is Literal
        for choice in get_args(option)
    ]


def _shown(value: object) -> str:
    text = "null" if value is None else _short(repr(value))
    if isinstance(value, list):
        return f"the list {text}"
    return f"the mapping {text}" if isinstance(value, dict) else text


def _short(text: str) -> str:
    text = mask(text)  # first, since half a credential is not known for one
    return text if len(text) <= 120 else f"{text[:117]}..."


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _yaml_lines(spec: BaseModel) -> list[str]:
    lines = []
    fields = type(spec).model_fields.items()
    # What a job does is read first, where it runs last.
    for name, info in sorted(fields, key=lambda field: field[0] == "resources"):
        value = getattr(spec, name)
        if info.description:
            lines += textwrap.wrap(
                info.description, 92, initial_indent="# ", subsequent_indent="# "
            )
        if isinstance(value, BaseModel):
            lines += [f"{name}:", *textwrap.indent("\n".join(_yaml_lines(value)), "  ").split("\n")]
        else:
            lines.append(f"{name}: {_yaml_value(spec.model_dump(mode='json')[name])}")
    return lines


def _yaml_value(value: object) -> str:
    def written(style: str | None) -> str:
        text = yaml.safe_dump(
            value, default_flow_style=True, default_style=style, width=math.inf, allow_unicode=True
        )
        return text.removesuffix("\n").removesuffix("\n...")

    plain = written(None)
    # Only the double-quoted style keeps a text with line breaks on one line.
    return plain if len(plain.splitlines()) == 1 else written('"')
