"""How a spec's fields stand on the command line: flags as annotations of the fields.

A field with a `Flag` in its annotation has a flag; its help is the field's description, its default
the field's. Fields without one are set by ``--set`` or in YAML. `Path` marks a value that names a
file or folder, which a job that runs elsewhere must find there.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Panel = Literal[
    "Arguments", "Model", "Data", "Which images", "Work", "Pages", "What to draw", "Where it runs"
]
"""The headings of ``--help``, in this order; `PANELS` lists them."""
PANELS: Final[tuple[str, ...]] = get_args(Panel)


@dataclass(frozen=True)
class Flag:
    """Gives a field a flag.

    Attributes:
        name: ``--batch-size``; empty: the field's own name.
        panel: the heading of ``--help`` that it stands under; "Arguments" makes it a value without
            a flag, read by its place.
        metavar: what stands for the value in ``--help``.
        part: of a field that is a spec itself, the field of that spec which the flag sets.
        null: the word that stands for null.
    """

    name: str = ""
    panel: Panel = "Work"
    metavar: str = "TEXT"
    part: str = ""
    null: str | None = None


@dataclass(frozen=True)
class Path:
    """Marks a text, or texts, that may name a file or folder.

    Attributes:
        of: the path or URL in the text; None where it names none.
    """

    of: Callable[[str], str | None] = str


@dataclass(frozen=True)
class BoundFlag:
    """A flag and the field that it sets.

    Attributes:
        field: dotted, from the job's spec: ``model.arch``.
        flag: as annotated.
        kind: ``text`` takes a value, ``list`` many, ``switch`` none; ``argument`` is a value
            without a flag.
        info: the annotated field.
    """

    field: str
    flag: Flag
    kind: Literal["text", "list", "switch", "argument"]
    info: FieldInfo

    @property
    def name(self) -> str:
        """``--batch-size``, or ``RUN`` for an argument."""
        last = self.field.rpartition(".")[2]
        if self.kind == "argument":
            return self.flag.name or last.upper()
        return self.flag.name or f"--{last.replace('_', '-')}"

    @property
    def required(self) -> bool:
        """Whether a spec without it is refused, so that it must come from here or from YAML."""
        return self.info.is_required()


def flags_of(model: type[BaseModel]) -> tuple[BoundFlag, ...]:
    """The flags of a spec and of the specs within it, by panel, then in the order of the fields."""
    found = _annotated_flags(model, "")
    return tuple(sorted(found, key=lambda bound: PANELS.index(bound.flag.panel)))


def default_of(model: type[BaseModel], field: str) -> Any:
    """The value of a dotted field where nothing is given; None also where one must be given."""
    holder: Any = model
    for step in field.split("."):
        if isinstance(holder, BaseModel):
            holder = getattr(holder, step)
            continue
        info = holder.model_fields[step]
        holder = spec_within(info.annotation) if info.is_required() else info.get_default()
    return None if isinstance(holder, type) else holder


def paths_of(spec: BaseModel, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The files and folders that a spec names, as (dotted field, path or URL)."""
    for name, info in type(spec).model_fields.items():
        value = getattr(spec, name)
        if isinstance(value, BaseModel):
            yield from paths_of(value, f"{prefix}{name}.")
        texts = value if isinstance(value, tuple) else (value,)
        for mark in _marks(info, Path):
            places = (mark.of(text) for text in texts if isinstance(text, str))
            yield from ((f"{prefix}{name}", place) for place in places if place is not None)


def spec_within(annotation: object) -> type[BaseModel] | None:
    """The model class of a field that holds one, ``Model`` or ``Model | None``."""
    for option in options_of(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _annotated_flags(model: type[BaseModel], prefix: str) -> Iterator[BoundFlag]:
    for name, info in model.model_fields.items():
        inner = spec_within(info.annotation)
        for flag in _marks(info, Flag):
            if flag.part and inner is not None:
                kind = _kind(flag, inner.model_fields[flag.part].annotation)
                yield BoundFlag(f"{prefix}{name}.{flag.part}", flag, kind, info)
            else:
                yield BoundFlag(f"{prefix}{name}", flag, _kind(flag, info.annotation), info)
        if inner is not None:
            yield from _annotated_flags(inner, f"{prefix}{name}.")


def _kind(flag: Flag, annotation: object) -> Literal["text", "list", "switch", "argument"]:
    if flag.panel == "Arguments":
        return "argument"
    options = options_of(annotation)
    if bool in options:
        return "switch"
    return "list" if any(get_origin(option) is tuple for option in options) else "text"


def _marks(info: FieldInfo, kind: type[Any]) -> list[Any]:
    """Marks of a field's annotation, those inside ``X | None`` too."""
    inside = [
        mark
        for option in _union(info.annotation)
        if get_origin(option) is Annotated
        for mark in get_args(option)[1:]
    ]
    return [mark for mark in (*info.metadata, *inside) if isinstance(mark, kind)]


def _union(annotation: object) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in _UNIONS else (annotation,)


def options_of(annotation: object) -> list[Any]:
    """The types that a field takes, without the marks on them."""
    return [
        get_args(option)[0] if get_origin(option) is Annotated else option
        for option in _union(annotation)
    ]


_UNIONS = (Union, types.UnionType)
