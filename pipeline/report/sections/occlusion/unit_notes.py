"""What an occlusion tells of the units whose maps it watched, for their details."""

from __future__ import annotations

from pipeline.report.formats import counted, three_digits
from pipeline.report.section import NotePicture, Row, UnitNote
from pipeline.report.sections.occlusion.page_data import OCCLUSIONS, activity_file, page_name
from pipeline.store.run import Run

_SHOWN = 6


def occlusion_notes(run: Run, layer: str, frame_px: int) -> dict[int, UnitNote]:
    """By unit of a layer: the images whose strongest map was the unit's.

    Args:
        run: scan and occlude are published.
        layer: of the scan.
        frame_px: side of the maps' pictures.
    """
    columns = ["image_id", "window", "uri", "class_name", "unit", "largest_drop", "p_target"]
    rows = run.table("pictures", job="occlude", layer=layer, columns=columns)
    all_images = run.manifest("occlude").counts["images"]
    order = ["unit", "largest_drop", "image_id", "window"]
    rows = rows.sort_values(order, ascending=[True, False, True, True])
    best = rows.drop_duplicates(["unit", "image_id"])
    notes = {}
    for unit, own in best.groupby("unit"):
        few = f"; those {_SHOWN} whose p falls furthest are below" if len(own) > _SHOWN else ""
        notes[int(str(unit))] = UnitNote(
            title="Watched under a sliding window",
            words=f"It was the strongest map of {counted(len(own), 'image')} of the {all_images:,} "
            f"that were occluded{few}. Dark: where a window lowers the map's total activity.",
            pictures=tuple(_picture(row, frame_px) for row in own.head(_SHOWN).to_dict("records")),
            page=OCCLUSIONS,
        )
    return notes


def _picture(row: Row, frame_px: int) -> NotePicture:
    name = row["class_name"]
    title = name if isinstance(name, str) else str(row["uri"]).rpartition("/")[2]
    drop = f"p falls by {three_digits(row['largest_drop'])} of {three_digits(row['p_target'])}"
    return NotePicture(
        file=activity_file(int(row["image_id"]), int(row["window"])),
        width=frame_px,
        height=frame_px,
        words=f"{title}: {drop}",
        page=page_name(int(row["image_id"])),
        pixels=True,
    )
