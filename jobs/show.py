"""`unitscope show`: the top patches of a unit, or of many, or an occluded image, as a PNG.

Invariant: it draws what `pipeline.report` reads, projections beside the patches where the run has
them, and works nothing out itself.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from pipeline.report.figures.occlusion import draw_occlusion
from pipeline.report.figures.units import draw_sheet, draw_unit
from pipeline.report.patch_reader import PatchReader
from pipeline.report.sections.occlusion.reader import OcclusionReader
from pipeline.report.unit_record import read_units
from pipeline.store import open_run
from schemas.errors import LayerError, SpecError

_FEW = 12


def parse_units(text: str) -> range:
    """``"0-63"`` or ``"7"`` as a range of units.

    Raises:
        SpecError: it is neither.
    """
    first, dash, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() if dash else True)):
        raise SpecError(f"--units {text}: is not a range of units; write it as 0-63")
    wanted = range(int(first), int(last or first) + 1)
    if not wanted:
        raise SpecError(f"--units {text}: ends before it begins; write the smaller number first")
    return wanted


def run(run_url: str, layer: str, units: range, out: str, *, sheet: bool) -> tuple[int, int]:
    """Draw units of a published scan.

    Args:
        run_url: the run's folder, a path or URL.
        layer: a layer of the scan.
        units: which units; a sheet leaves out those that the layer does not have.
        out: the PNG to write, a local path.
        sheet: one row a unit, instead of one unit on a page.

    Returns:
        (width, height) of the picture in pixels.

    Raises:
        LayerError: the run has no such layer, or the layer no such unit.
        NotPublishedError: the run has no scan yet.
        SpecError: ``out`` cannot be written.
    """
    source = open_run(run_url)
    [facts] = source.table("layers", job="scan", layer=layer).to_dict("records")
    known = int(facts["units"])
    if units.start >= known:
        raise LayerError(
            f"{run_url}: layer {layer} has no unit {units.start}; choices: 0 to {known - 1}"
        )
    pages = read_units(source, facts, range(units.start, min(units.stop, known)))
    return _write(draw_sheet(pages, known) if sheet else draw_unit(pages[0]), out)


def run_occlusion(run_url: str, image_id: int, out: str) -> tuple[int, int]:
    """Draw one image of a published occlusion (ZF fig. 7).

    Args:
        run_url: the run's folder, a path or URL.
        image_id: its row of the image list.
        out: the PNG to write, a local path.

    Returns:
        (width, height) of the picture in pixels.

    Raises:
        NotPublishedError: the run has no scan or no occlusion yet.
        SpecError: the image was not occluded, or ``out`` cannot be written.
        StoreError: a table cannot be read, or is of another scan.
    """
    source = open_run(run_url)
    reader = OcclusionReader(source, PatchReader(source))
    known = reader.ranked()
    if image_id not in known:
        few = ", ".join(map(str, sorted(known)[:_FEW])) + (" ..." if len(known) > _FEW else "")
        raise SpecError(
            f"--occlusion {image_id}: {run_url} has no occlusion of this image; choices: {few}"
        )
    [image] = reader.read([image_id])
    return _write(draw_occlusion(image, reader.class_name), out)


def _write(picture: Image.Image, out: str) -> tuple[int, int]:
    data = io.BytesIO()
    picture.save(data, "PNG")
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_bytes(data.getvalue())
    except OSError as error:
        raise SpecError(
            f"--out {out}: cannot be written ({error.strerror}); give a local path"
        ) from error
    return picture.size
