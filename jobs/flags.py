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

from jobs.spec_io import NULL, AnySpec, dump_spec, load_spec


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


MODEL_FLAGS = (
    Flag(
        "--arch",
        "model.arch",
        "The network: a torchvision classification model, zfnet, krizhevsky, or an import path "
        "'package.module:function' or 'file.py:function' (with --trust-code).",
        metavar="NAME",
        panel="Model",
    ),
    Flag(
        "--weights",
        "model.weights",
        "A .safetensors or .pth file or URL, a torchvision weights name, or 'random'. "
        "Left out: torchvision's DEFAULT.",
        metavar="FILE|NAME",
        panel="Model",
    ),
    Flag("--seed", "model.seed", "Seed of weights 'random'.", metavar="N", panel="Model"),
    Flag(
        "--trust-code",
        "model.trust_code",
        "Allow an import path as --arch; it runs the code that it names.",
        kind="switch",
        panel="Model",
    ),
)

_WHERE_FLAGS = (
    Flag(
        "--workers",
        "resources.workers",
        "Worker processes; auto: as many as the cores or GPUs carry.",
        metavar="auto|N",
        panel="Where it runs",
        read=lambda text: NULL if text == "auto" else text,
    ),
    Flag(
        "--device", "resources.device", "Kind of device.", metavar="cpu|cuda", panel="Where it runs"
    ),
    Flag(
        "--local",
        "resources.local",
        "In this process, without Ray.",
        kind="switch",
        panel="Where it runs",
    ),
    Flag(
        "--ray",
        "resources.ray_address",
        "A running Ray cluster. Left out: RAY_ADDRESS, else an embedded one.",
        metavar="ADDRESS",
        panel="Where it runs",
    ),
)

SCAN_FLAGS = (
    *MODEL_FLAGS,
    Flag(
        "--data",
        "data.uri",
        "A folder of images, a CSV or Parquet manifest (path,label,class_name), a Parquet table "
        "of image bytes, or tar shards; a path or URL.",
        metavar="PATH",
        panel="Data",
    ),
    Flag("--limit", "data.limit", "Only the first N images.", metavar="N", panel="Data"),
    Flag("--out", "out", "The run's folder, a path or URL.", metavar="RUN", panel="Data"),
    Flag(
        "--layers",
        "layers.include",
        "Globs over the names that `unitscope layers` prints; repeatable, or by commas. Left out: "
        "every activation function's output, and the classifier's.",
        metavar="GLOB",
        kind="list",
        panel="Work",
    ),
    Flag("--top", "top", "Top patches kept a unit (9).", metavar="K", panel="Work"),
    Flag("--batch-size", "batch_size", "Images a batch (64).", metavar="N", panel="Work"),
    Flag(
        "--shard-size",
        "shard_size",
        "Images a shard, the unit of retry and resume; a multiple of the batch size. Left out: a "
        "32nd of the images, at most 4096.",
        metavar="N",
        panel="Work",
    ),
    Flag(
        "--precision",
        "precision",
        "Of the network's arithmetic (fp32).",
        metavar="fp32|tf32|bf16",
        panel="Work",
    ),
    *_WHERE_FLAGS,
)

RUN_ARGUMENT = Flag("RUN", "run", "A run's folder, a path or URL.", metavar="RUN", kind="argument")

_SCANNED_LAYERS = Flag(
    "--layers",
    "layers.include",
    "Globs over the names of the scanned layers; repeatable, or by commas. Left out: all.",
    metavar="GLOB",
    kind="list",
)

PROJECT_FLAGS = (
    RUN_ARGUMENT,
    _SCANNED_LAYERS,
    Flag("--units", "units", "A unit or a range, 0-63. Left out: all.", metavar="UNITS"),
    Flag(
        "--rule",
        "rule",
        "What happens to the signal at a rectifier on its way down (deconvnet); gradient works for "
        "every activation function.",
        metavar="deconvnet|guided|gradient",
    ),
    *_WHERE_FLAGS,
)

GALLERY_FLAGS = (
    RUN_ARGUMENT,
    Flag(
        "--out",
        "out",
        "Where to put the pages, a local folder; an earlier gallery there is replaced. Left out: "
        "RUN/gallery.",
        metavar="DIR",
    ),
    _SCANNED_LAYERS,
    Flag("--sheet-px", "sheet_px", "Side of one picture, 16 to 256 (64).", metavar="N"),
)
