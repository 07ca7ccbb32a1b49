"""From a table of flags to a typer command whose arguments make one spec.

Invariant: a flag only names a field of the spec; what values it takes, and its default, stand in
the spec alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from jobs.spec_io import AnySpec, dump_spec, load_spec


@dataclass(frozen=True)
class Flag:
    """A flag for one field of a spec.

    Attributes:
        name: ``--batch-size``.
        field: the dotted field that it sets.
        help: what it says in ``--help``.
        metavar: what stands for the value there.
        kind: ``text`` takes a value, ``list`` many (repeated or by commas), ``switch`` none;
            ``argument`` is a value without a flag, called by its place.
        panel: the heading under which ``--help`` shows it.
        read: from the flag's text to the field's value.
    """

    name: str
    field: str
    help: str
    metavar: str = "TEXT"
    kind: Literal["text", "list", "switch", "argument"] = "text"
    panel: str = "Options"
    read: Callable[[str], object] = str

    @property
    def argument(self) -> str:
        """The name of the Python argument behind the flag."""
        return self.field.replace(".", "__")

    def parameter(self) -> inspect.Parameter:
        """The argument as typer reads it; None where the flag was not given."""
        annotation, option = {
            "text": (str, typer.Option(self.name, metavar=self.metavar)),
            "list": (list[str], typer.Option(self.name, metavar=self.metavar)),
            "switch": (bool, typer.Option(f"{self.name}/--no-{self.name[2:]}")),
            "argument": (str, typer.Argument(metavar=self.metavar)),
        }[self.kind]
        option.help, option.rich_help_panel = self.help, self.panel
        return keyword(self.argument, annotation, option)

    def value(self, given: Any) -> object:
        """The field's value for what typer parsed; None where the flag was not given."""
        if self.kind == "list":
            return [part.strip() for text in given for part in text.split(",")] if given else None
        return self.read(given) if isinstance(given, str) else given


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
    flags: Sequence[Flag],
    action: Callable[..., None],
    extra: Sequence[inspect.Parameter] = (),
) -> Callable[..., None]:
    """A function for ``typer.Typer.command`` that reads a spec and calls ``action``.

    Args:
        model: the spec's class.
        flags: the flags for its fields; ``--spec``, ``--set`` and ``--print-spec`` come along.
        action: called with the spec, and with the extra arguments by keyword.
        extra: arguments of the command that are no part of the spec.
    """

    def command(**given: Any) -> None:
        spec = load_spec(
            model,
            yaml_path=given["spec_file"],
            flags={flag.field: flag.value(given[flag.argument]) for flag in flags},
            sets=given["sets"] or (),
            flag_names={flag.field: flag.name for flag in flags},
        )
        if given["print_spec"]:
            typer.echo(dump_spec(spec), nl=False)
        else:
            action(spec, **{parameter.name: given[parameter.name] for parameter in extra})

    parameters = [*(flag.parameter() for flag in flags), *extra, *_COMMON]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command
