"""`unitscope demo`: draw pictures, train a small ZFNet on them, and look into it.

Whatever a command of `unitscope` can do is done by that command, whose line is printed first. The
demo itself only makes what a user would bring along, the pictures and the weights, and at the end
one figure of the units that it names.
"""

# ruff: noqa: PLC0415 (the command line reads this file, and heavy modules only when it runs)
from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.demo.choose_units import ChosenUnit
    from pipeline.demo.small_net import Training

ARCH = "small_zfnet"
PASSES_A_MINUTE = 10
_PICTURES, _REST_MINUTES = 2000, 2.0
"""How many by default, and what drawing and analysing them takes on two cores."""

_CHOICE_LAYERS = ("relu2", "relu3", "relu4", "relu5")


@dataclass(frozen=True)
class Files:
    """Where the demo keeps what it makes: all in the run's folder.

    Attributes:
        out: the run's folder, a local path.
    """

    out: str

    @property
    def pictures(self) -> Path:
        """The folder of pictures, with their boxes."""
        return Path(self.out) / "pictures"

    @property
    def manifest(self) -> Path:
        """The image list that the scan reads."""
        return self.pictures / "manifest.csv"

    @property
    def weights(self) -> Path:
        """The trained weights, which say how they were made."""
        return Path(self.out) / f"{ARCH}.safetensors"

    @property
    def figure(self) -> Path:
        """The figure of the units that the demo names."""
        return Path(self.out) / "units.png"


def demo(
    context: typer.Context,
    *,
    out: Annotated[
        str, typer.Option(metavar="RUN", help="The run's folder, a local one.")
    ] = "runs/demo",
    minutes: Annotated[
        float,
        typer.Option(
            metavar="N",
            help="About how long to train on one free core. It decides the number of passes over "
            "the pictures, so that the same command gives the same network.",
            min=0.1,
        ),
    ] = 2.0,
    pictures: Annotated[
        int, typer.Option(metavar="N", help="How many to draw.", min=50)
    ] = _PICTURES,
    local: Annotated[bool, typer.Option("--local", help="In this process, without Ray.")] = False,
) -> None:
    """Try everything, without a model or a data set of your own, in a few minutes.

    It draws pictures of ten kinds of things with parts, trains a small ZFNet to tell them apart,
    and runs the commands that you would run on your own model; each is printed before it runs.
    At the end it names a few units that look for a part, and draws them into RUN/units.png.
    A demo that was cut short resumes when it is run again.

    Example: `unitscope demo --out runs/demo --minutes 2`
    """
    from pipeline.demo.small_net import Training
    from pipeline.io.objects import local_path

    if local_path(out) is None:
        raise SpecError(f"--out {out}: the demo draws and trains here; give a local folder")
    files = Files(out)
    training = Training(pictures, passes=max(1, round(minutes * PASSES_A_MINUTE)))
    if not files.weights.is_file():
        about = max(1, round((minutes + _REST_MINUTES) * pictures / _PICTURES))
        typer.echo(
            f"This draws {pictures:,} pictures, trains a small network on them and looks into it, "
            f"all in {out}; about {about} min on two free cores."
        )
    draw(files, training)
    learn(files, training)
    for step in steps(files, local=local):
        _run(context, step)
    units = find_units(files)
    for unit in units:
        _run(context, show_step(files, unit))
    if units:
        draw_units(files, units)
    typer.echo(last_words(files, units))


def draw(files: Files, training: Training) -> None:
    """Draw the pictures, unless they are there.

    Raises:
        DatasetError: the folder holds another number of pictures.
    """
    from pipeline.demo.scenes import CLASSES, write_scenes

    started = time.monotonic()
    how = "already drawn"
    if not files.manifest.is_file():
        typer.echo("drawing the pictures ...")
    if write_scenes(files.pictures, training.pictures, training.seed):
        how = f"{len(CLASSES)} kinds of things, drawn in {time.monotonic() - started:.0f} s"
    typer.echo(f"{files.pictures}: {training.pictures:,} pictures, {how}")


def learn(files: Files, training: Training) -> None:
    """Train the network and save its weights, unless they are there.

    Raises:
        DatasetError: a picture cannot be read.
        SpecError: the folder holds weights that were made otherwise.
    """
    from pipeline.demo.small_net import read_record, train_scene_net
    from pipeline.demo.train import Epoch
    from pipeline.io.objects import put_once

    def say(epoch: Epoch) -> None:
        typer.echo(
            f"  pass {epoch.number} of {training.passes}: loss {epoch.loss:.2f}, "
            f"{epoch.accuracy:.0%} right"
        )

    started = time.monotonic()
    how = "already trained"
    if not files.weights.is_file():
        typer.echo(
            f"training {ARCH} on one core, {training.passes} passes over four fifths of them ..."
        )
        weights = train_scene_net(str(files.manifest), training, on_epoch=say)
        put_once(str(files.weights), weights)
        how = f"trained in {time.monotonic() - started:.0f} s"
    made, right = read_record(files.weights)
    if made != training:
        raise SpecError(
            f"{files.weights}: was trained as {made}, and {training} is asked for; take another "
            "--out, or the --minutes and --pictures that it was made with"
        )
    typer.echo(f"{files.weights}: {how}, names {right:.1%} of the other fifth right")


def steps(files: Files, *, local: bool) -> list[list[str]]:
    """The commands that look into the trained network, as arguments of ``unitscope``.

    Args:
        files: of the demo.
        local: without Ray.
    """
    where = ["--local"] if local else []
    model = ["--arch", ARCH, "--weights", str(files.weights)]
    return [
        ["scan", *model, "--data", str(files.manifest), "--out", files.out, *where],
        ["project", files.out, *where],
        ["filters", files.out, *where],
        ["gallery", files.out],
    ]


def show_step(files: Files, unit: ChosenUnit) -> list[str]:
    """The command that draws one unit, into the run's folder."""
    picture = Path(files.out) / f"{unit.part}-{unit.layer}-{unit.unit}.png"
    return ["show", files.out, "--layer", unit.layer, "--unit", str(unit.unit), "-o", str(picture)]


def find_units(files: Files) -> list[ChosenUnit]:
    """Units whose top patches have a part of an object in the middle, by the parts' boxes.

    Returns:
        At most one per layer, each for another class, in the order of the layers: of all such
        choices the one with the largest sum of scores.
    """
    import pandas as pd

    from pipeline.demo.choose_units import choose_units
    from pipeline.demo.part_scores import part_scores
    from pipeline.demo.scenes import CLASSES
    from pipeline.store import open_run

    run = open_run(files.out)
    layers = [run.table("top_patches", job="scan", layer=layer) for layer in _CHOICE_LAYERS]
    tops = pd.concat(layers, ignore_index=True)
    tops["image"] = tops["uri"].map(lambda uri: "/".join(uri.split("/")[-2:]))
    first = tops[tops["rank"] == 1].assign(class_name=tops["image"].str.split("/").str[0])
    scores = part_scores(tops, _parts_in_frames(files))
    # The box of an object says less than that of a part: most deep patches show an entire object.
    scores = scores[~scores["part"].isin(CLASSES)]
    scores = scores.merge(first[["layer", "unit", "class_name"]], on=["layer", "unit"])
    return choose_units(scores, _CHOICE_LAYERS)


def draw_units(files: Files, units: list[ChosenUnit]) -> None:
    """Draw the units side by side, each with the part that its patches show."""
    from pipeline.demo.figure import draw_figure
    from pipeline.report.unit_record import read_units
    from pipeline.store import open_run

    run = open_run(files.out)
    drawn = []
    for unit in units:
        [layer] = run.table("layers", job="scan", layer=unit.layer).to_dict("records")
        [page] = read_units(run, layer, range(unit.unit, unit.unit + 1))
        drawn.append((page, f"{unit.part} in {unit.hits} of {unit.patches} patches"))
    draw_figure(drawn).save(files.figure, optimize=True)


def last_words(files: Files, units: list[ChosenUnit]) -> str:
    """Where to look, and what to try next."""
    out, tables = shlex.quote(files.out), str(Path(files.out, "scan", "top_patches"))
    shown = [
        f"  {show_step(files, unit)[-1]}: {unit.part}, in the middle of {unit.hits} of its "
        f"{unit.patches} strongest patches"
        for unit in units
    ]
    if units:
        shown.insert(0, f"  {files.figure}: these units side by side, projections left of patches")
    lines = [
        "\nLook at",
        *shown,
        f"  {Path(files.out, 'gallery', 'index.html')}: every unit, in a browser",
        f"  pandas.read_parquet({tables!r}): the same, as a table",
        "Try next",
        *_activation(),
        f"  unitscope show {out} --layer relu3 -o relu3.png",
        f"  unitscope show {out} --figure 2 -o figure2.pdf",
        f"  unitscope show {out} --filters relu1 -o filters.png",
        f"  unitscope layers --arch {ARCH} --weights {shlex.quote(str(files.weights))} --all",
        "  unitscope scan --arch YOURS --weights FILE --data FOLDER --out runs/mine",
    ]
    return "\n".join(lines)


def _activation() -> list[str]:
    """How to make a shell find `unitscope`, where it does not."""
    script = Path(sys.executable).with_name("activate")
    if shutil.which("unitscope") or not script.is_file():
        return []
    return [f"  . {shlex.quote(os.path.relpath(script))}    # so that the shell finds unitscope"]


def _parts_in_frames(files: Files) -> pd.DataFrame:
    """``boxes.csv`` in pixels of the network's input frame, as `part_scores` reads it."""
    import pandas as pd

    from pipeline.demo.scenes import SCENE_PX
    from pipeline.models.zfnet import PREPROCESS

    preprocess, edges = PREPROCESS[ARCH], ["y0", "x0", "y1", "x1"]
    resized = preprocess.resize_px or SCENE_PX
    parts = pd.read_csv(files.pictures / "boxes.csv").rename(columns={"path": "image"})
    parts[edges] = parts[edges] * (resized / SCENE_PX) - (resized - preprocess.crop_px) / 2
    return parts


def _run(context: typer.Context, arguments: list[str]) -> None:
    """Run one command in this process, as if it had been typed.

    Raises:
        typer.Exit: it failed, and has said why.
    """
    typer.echo(f"\n$ unitscope {shlex.join(arguments)}")
    command = context.find_root().command
    status = command.main(arguments, prog_name="unitscope", standalone_mode=False)
    if status:
        raise typer.Exit(status)
