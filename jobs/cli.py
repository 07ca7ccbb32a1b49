"""The command `unitscope`.

Invariant: nothing heavy (torch, ray) is imported before a command that needs it runs, and every
expected error leaves as one message on stderr and its exit status.
"""

# ruff: noqa: PLC0415 (heavy modules are imported by the command that needs them)
from __future__ import annotations

import json
import shlex
import time
from typing import Annotated

import typer

from jobs.demo import demo
from jobs.exits import ExitGroup, run_and_exit, say
from jobs.flags import keyword, spec_command
from jobs.spec_io import load_spec
from jobs.submit import submit_app
from schemas.errors import InputError, SpecError, nearest
from schemas.jobs import JOBS
from schemas.jobs.gallery import GallerySpec
from schemas.jobs.occlude import OccludeSpec, OcclusionFigure
from schemas.jobs.project import ProjectSpec
from schemas.jobs.scan import ScanSpec, UnitsFigure
from schemas.secrets import WAY_OUT, holds_credentials
from schemas.specs import ModelSpec, PreprocessSpec, Spec

app = typer.Typer(
    cls=ExitGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(submit_app, name="submit")


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
_JSON = typer.Option("--json", help="JSON on stdout, for programs.")
AsJson = Annotated[bool, _JSON]


def main() -> None:
    """Run the command of ``sys.argv`` and exit with its status."""
    run_and_exit(app)


@app.callback()
def unitscope(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; stands before the command.")
    ] = False,
) -> None:
    """What every unit of a convolutional network looks for, over a whole image data set.

    `unitscope demo` shows everything on pictures of its own. Begin with `unitscope scan`, look with
    `unitscope show`.

    Exit status: 0 done, or already done; 2 bad arguments or spec; 3 the job failed;
    130 interrupted. A command that was cut short resumes when it is run again.
    """


def _scan(spec: ScanSpec) -> None:
    from jobs import scan
    from pipeline.store import JobFolder, JobStore, open_run

    store = JobStore(JobFolder(spec.out, "scan"))
    before = store.manifest()
    begun = before is not None or store.plan() is not None
    started = time.monotonic()
    manifest = scan.run(spec)
    seconds = time.monotonic() - started
    images, rejects = manifest.counts.get("images", 0), manifest.counts.get("rejects", 0)
    how = f"done in {seconds:.1f} s"
    if before is not None:
        how = f"already done ({manifest.provenance.created_at})"
    elif not begun:
        how += f" ({(images + rejects) / seconds:.1f} images/s)"
    typer.echo(f"scan {how}: {images:,} images, {rejects:,} rejects, in {spec.out}")
    if sick := manifest.identity.get("weights_nonfinite"):
        say(
            f"unitscope: weights that are NaN or infinite: {sick:,}; no activation that they spoil "
            "is ranked, and the column nonfinite of scan/units counts them"
        )
    layer = open_run(spec.out).table("layers", job="scan", columns=["layer"])["layer"].iloc[-1]
    typer.echo(f"next: unitscope show {shlex.quote(spec.out)} --layer {layer} --unit 0 -o unit.png")


app.command(
    "scan",
    help="Scan a whole data set for the images that drive every unit most, and publish the "
    "tables. Killed at any moment, the same command resumes.\n\nExample: "
    "`unitscope scan --arch squeezenet1_1 --data photos --out runs/a`",
)(spec_command(ScanSpec, _scan))


class _Look(Spec):
    """A model, and the input frame that it is looked at with."""

    model: ModelSpec
    preprocess: PreprocessSpec | None = None


def _layers(look: _Look, *, every: bool, as_json: bool) -> None:
    from jobs import layers

    found = layers.table(look.model, look.preprocess)
    shown = found if every else found[found["selected"]]
    if as_json:
        typer.echo(shown.to_json(orient="records", indent=2))
    else:
        layers.show(shown, nodes=len(found))


app.command(
    "layers",
    help="List the layers of a model: names for `--layers`, units, maps and receptive fields.\n\n"
    "Example: `unitscope layers --arch resnet18 --weights random --all`",
)(
    spec_command(
        _Look,
        _layers,
        extra=(
            keyword(
                "every",
                bool,
                typer.Option("--all", help="Every node, not only what a scan takes by default."),
                default=False,
            ),
            keyword("as_json", bool, _JSON, default=False),
        ),
    )
)


@app.command()
def status(run: Run, *, as_json: AsJson = False) -> None:
    """Say what a run folder holds: jobs published, or shards done and time left.

    It reads the folder alone, so it works beside a running job and after a dead one.

    Example: `unitscope status runs/a`
    """
    from jobs import status as job

    found = job.look(run)
    typer.echo(job.as_json(found) if as_json else job.as_text(found))


@app.command()
def show(
    run: Run,
    *,
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Units of a layer of the scan.")
    ] = None,
    occlusion: Annotated[
        int | None,
        typer.Option(metavar="IMAGE_ID", help="One image that was occluded, instead.", min=0),
    ] = None,
    unit: Annotated[
        int | None, typer.Option(metavar="U", help="One unit; left out: a sheet of units.", min=0)
    ] = None,
    units: Annotated[
        str, typer.Option(metavar="A-B", help="The units of a sheet, from A to B.")
    ] = "0-63",
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="The PNG to write.")],
) -> None:
    """Draw the top patches of one unit, a sheet of many units, or an occluded image, as a PNG.

    Each patch stands beside its projection where `unitscope project` has made them; without, the
    images are read again from where the scan read them.

    Example: `unitscope show runs/a --layer features.12.cat --unit 7 -o unit.png`, or
    `unitscope show runs/a --occlusion 12 -o occlusion.png`
    """
    from jobs import show as job

    if occlusion is not None and layer is None and unit is None:
        image = load_spec(OcclusionFigure, flags={"occlusion": occlusion})
        size = job.run(run, "occlude", image, out)
    elif layer is not None and occlusion is None:
        flags = {"layer": layer, "unit": unit, "units": units}
        sheet = load_spec(UnitsFigure, flags=flags, flag_names={"units": "--units"})
        size = job.run(run, "scan", sheet, out)
    else:
        raise SpecError(
            "show draws one thing: give --layer (with --unit or --units), or --occlusion"
        )
    typer.echo(f"{out}: {size[0]} x {size[1]} pixels")


def _project(spec: ProjectSpec) -> None:
    from jobs import project
    from pipeline.store import JobFolder, JobStore

    before = JobStore(JobFolder(spec.run, "project")).manifest()
    started = time.monotonic()
    manifest = project.run(spec)
    how = f"done in {time.monotonic() - started:.1f} s"
    if before is not None:
        how = f"already done ({manifest.provenance.created_at})"
    made, images = manifest.counts["projections"], manifest.counts["images"]
    typer.echo(f"project {how}: {made:,} projections of {images:,} images, in {spec.run}")
    typer.echo(f"next: unitscope gallery {shlex.quote(spec.run)}")


app.command(
    "project",
    help="Project the top patches of a scan back to pixels: what in each image made the unit "
    "fire. Killed at any moment, the same command resumes.\n\n"
    "Example: `unitscope project runs/a --layers 'layer3*'`",
)(spec_command(ProjectSpec, _project))


def _occlude(spec: OccludeSpec) -> None:
    from jobs import occlude
    from pipeline.store import JobFolder, JobStore

    before = JobStore(JobFolder(spec.run, "occlude")).manifest()
    started = time.monotonic()
    manifest = occlude.run(spec)
    how = f"done in {time.monotonic() - started:.1f} s"
    if before is not None:
        how = f"already done ({manifest.provenance.created_at})"
    positions, images = manifest.counts["positions"], manifest.counts["images"]
    typer.echo(f"occlude {how}: {positions:,} windows on {images:,} images, in {spec.run}")
    typer.echo(f"next: unitscope gallery {shlex.quote(spec.run)}")


app.command(
    "occlude",
    help="Slide a grey square over images of a scan and record, at each of its places, how "
    "probable the class still is, which class is the most probable one, and how active the "
    "strongest map is: the probability falls where the object is. Killed at any moment, the same "
    "command resumes.\n\n"
    "Example: `unitscope occlude runs/a --sample 50 --window-px 32 --stride-px 8`",
)(spec_command(OccludeSpec, _occlude))


def _gallery(spec: GallerySpec) -> None:
    from jobs import gallery

    typer.echo(gallery.as_text(gallery.run(spec)))


app.command(
    "gallery",
    help="Draw a run as static pages: every unit with its strongest patches, and their "
    "projections where `unitscope project` has made them. Open index.html from disk.\n\n"
    "Example: `unitscope gallery runs/a`",
)(spec_command(GallerySpec, _gallery))
app.command()(demo)


@app.command()
def schema(
    job: Annotated[str, typer.Argument(metavar="JOB", help=f"One of: {', '.join(JOBS)}.")],
) -> None:
    """Print the JSON schema of a job's spec, for editors and checks.

    Example: `unitscope schema scan > scan.schema.json`
    """
    if job not in JOBS:
        raise InputError(f"{job}: no such job; {nearest(job, JOBS)}")
    typer.echo(json.dumps(JOBS[job].spec.model_json_schema(), indent=2))
