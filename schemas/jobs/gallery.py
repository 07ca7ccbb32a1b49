"""The gallery: a run as static pages (ZF fig. 2)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from schemas.flags import Flag
from schemas.job_info import JobInfo
from schemas.specs import JobSpec, LayerSelection, ScannedLayers
from schemas.values import Location


class GallerySpec(JobSpec):
    """Draw a run as static pages (ZF fig. 2)."""

    run: Annotated[Location, Flag(panel="Arguments", metavar="RUN")] = Field(
        description="the run's folder, a path or URL; scan must be published, other jobs may be"
    )
    out: Annotated[Location | None, Flag(panel="Pages", metavar="DIR")] = Field(
        default=None,
        description="where to put the pages, a local folder; an earlier gallery there is "
        "replaced; null: RUN/gallery",
    )
    layers: ScannedLayers = LayerSelection()
    sheet_px: Annotated[PositiveInt, Flag(panel="Pages", metavar="N")] = Field(
        default=64, ge=16, le=256, description="side of one picture, 16 to 256"
    )

    @property
    def home(self) -> str:
        """See `JobSpec.home`."""
        return self.run


JOB = JobInfo(
    "gallery",
    GallerySpec,
    help="Draw a run as static pages: every unit with its strongest patches, and their "
    "projections where `unitscope project` has made them. Open index.html from disk.",
    example="unitscope gallery runs/a",
)
