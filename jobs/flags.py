"""From a spec's class to a typer command whose arguments make one spec."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from jobs.spec_io import NULL, AnySpec, dump_spec, load_spec
from schemas.errors import SpecError
from schemas.flags import BoundFlag, default_of, flags_of
from schemas.secrets import WAY_OUT, holds_credentials
from schemas.specs import Spec


def keyword(
    name: str,
    annotation: Any,
    option: Any,
    default: object = None,
) -> inspect.Parameter:
    """A keyword argument of a command; ``None`` as its default makes it one that may be left out.

    Args:
        name: of the argument.
        annotation: its type, without None.
        option: a ``typer.Option`` or ``typer.Argument``.
        default: ``...`` where it must be given.
    """
    kind = annotation if default is not None else annotation | None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is ... else default,
        annotation=Annotated[kind, option],
    )


def _without_credentials(url: str) -> str:
    if where := holds_credentials(url):
        raise SpecError(f"RUN: {where}; {WAY_OUT}")
    return url


Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's folder, a path or URL.", callback=_without_credentials
    ),
]
"""The run that a command without a spec looks at."""
RUN_ARGUMENT = inspect.Parameter("run", inspect.Parameter.KEYWORD_ONLY, annotation=Run)

_PANEL = "Spec"
_COMMON = (
    keyword(
        "spec_file",
        str,
        typer.Option(
            "--spec", metavar="FILE", help="YAML with any of the fields.", rich_help_panel=_PANEL
        ),
    ),
    keyword(
        "sets",
        list[str],
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set any field, the value in YAML; wins over flags, which win over --spec. "
            "Repeatable: --set preprocess.crop_px=192",
            rich_help_panel=_PANEL,
        ),
    ),
    keyword(
        "print_spec",
        bool,
        typer.Option(
            "--print-spec",
            help="Print the YAML that would run, and do nothing.",
            rich_help_panel=_PANEL,
        ),
        default=False,
    ),
)


def spec_command(
    model: type[AnySpec],
    action: Callable[..., None],
    extra: Sequence[inspect.Parameter] = (),
) -> Callable[..., None]:
    """A function for ``typer.Typer.command`` that reads a spec and calls ``action``.

    Args:
        model: the spec's class; its fields say which flags there are.
        action: called with the spec, and with the extra arguments by keyword.
        extra: arguments of the command that are no part of the spec.
    """
    flags = flags_of(model)

    def command(**given: Any) -> None:
        spec = load_spec(
            model,
            yaml_path=given["spec_file"],
            flags={flag.field: _value(flag, given[_argument(flag)]) for flag in flags},
            sets=given["sets"] or (),
            flag_names={flag.field: flag.name for flag in flags},
        )
        if given["print_spec"]:
            typer.echo(dump_spec(spec), nl=False)
        else:
            action(spec, **{parameter.name: given[parameter.name] for parameter in extra})

    parameters = [*(parameter(model, flag) for flag in flags), *extra, *_COMMON]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def parameter(model: type[Spec], flag: BoundFlag) -> inspect.Parameter:
    """A flag as typer reads it; None where it was not given."""
    metavar, panel = flag.flag.metavar, flag.flag.panel
    annotation, option = {
        "text": (str, typer.Option(flag.name, metavar=metavar, rich_help_panel=panel)),
        "list": (list[str], typer.Option(flag.name, metavar=metavar, rich_help_panel=panel)),
        "switch": (
            bool,
            typer.Option(f"{flag.name}/--no-{flag.name[2:]}", rich_help_panel=panel),
        ),
        "argument": (str, typer.Argument(metavar=metavar)),
    }[flag.kind]
    option.help = help_text(model, flag)
    return keyword(_argument(flag), annotation, option)


def help_text(model: type[Spec], flag: BoundFlag) -> str:
    """What ``--help`` says of a flag: its field's description, in the words of the command line."""
    value, word = default_of(model, flag.field), flag.flag.null
    nothing = "Left out" if word is None else f"'{word}'" + ", or left out" * (value is None)
    text = re.sub("; (?:null|empty): ", f". {nothing}: ", flag.info.description or "")
    for other in flags_of(model):
        field = other.field.rpartition(".")[2]
        if "_" in field:
            text = re.sub(rf"\b{field}\b", other.name, text)
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
    default = f" [{shown}]" if shown not in (None, "", False) else ""
    return f"{text[:1].upper()}{text[1:]}.{default}"


def _argument(flag: BoundFlag) -> str:
    """The name of the Python argument behind a flag."""
    return flag.field.replace(".", "__")


def _value(flag: BoundFlag, given: Any) -> object:
    """The field's value for what typer parsed; None where the flag was not given."""
    if flag.kind == "list":
        return [item.strip() for text in given for item in text.split(",")] if given else None
    return NULL if given is not None and given == flag.flag.null else given
