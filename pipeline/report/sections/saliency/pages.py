"""The section of the saliency maps: pages of images, each beside its maps.

The images of one page are all that is in memory at once.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from PIL import Image

from pipeline.report import render
from pipeline.report.formats import counted, few
from pipeline.report.patch_reader import PatchReader
from pipeline.report.pictures import encode
from pipeline.report.section import DrawnSection, Gallery, Summary
from pipeline.report.sections.saliency.figure import draw_saliency
from pipeline.report.sections.saliency.maps import SaliencyReader, SalientImage, image_ids
from pipeline.store.run import Run
from schemas.errors import SpecError
from schemas.jobs.saliency import SaliencyFigure

SALIENCY = "saliency.html"
IMAGES_PER_PAGE = 24


class SaliencySection(DrawnSection[SaliencyFigure]):
    """See `Section`; it shows the saliency maps of images of the scan."""

    name = "saliency"

    def count(self, run: Run, layers: pd.DataFrame) -> int:  # noqa: ARG002 (the contract's)
        """The number of images with maps."""
        return len(image_ids(run))

    def write(self, gallery: Gallery) -> Summary:
        """See `Section.write`."""
        reader = SaliencyReader(gallery.run, gallery.patches)
        ids = reader.image_ids()
        starts = range(0, len(ids), IMAGES_PER_PAGE)
        names = ["", *(page_name(place) for place in range(len(starts))), ""]
        with ThreadPoolExecutor(os.cpu_count()) as artists:
            for place, start in enumerate(starts):
                images = reader.read(ids[start : start + IMAGES_PER_PAGE])
                for files in artists.map(_pictures, images):
                    for name, data in files:
                        gallery.put(name, data)
                page = render.html(
                    "saliency/saliency.html.j2",
                    images=images,
                    file=file_name,
                    total=len(ids),
                    before=names[place],
                    after=names[place + 2],
                    root="",
                )
                gallery.put(names[place + 1], page.encode())
                gallery.advance(items=len(images))
        words = f"Saliency: {counted(len(ids), 'image')} and their gradients"
        return Summary(counts=f"saliency images {len(ids):,}", links=((SALIENCY, words),))

    def draw(self, run: Run, asked: SaliencyFigure) -> Image.Image:
        """One image."""
        reader = SaliencyReader(run, PatchReader(run))
        known = reader.image_ids()
        if asked.saliency not in known:
            raise SpecError(
                f"--saliency {asked.saliency}: {run.url} has no saliency maps of this image; "
                f"choices: {few(known)}"
            )
        [image] = reader.read([asked.saliency])
        return draw_saliency(image)


def page_name(place: int) -> str:
    """A page of images, by its place from 0, relative to the gallery."""
    return f"saliency-{place + 1}.html" if place else SALIENCY


def file_name(image_id: int, what: str) -> str:
    """The file of an image's input frame, ``image``, or of a method's map."""
    return f"saliency/{image_id:06d}-{what}.webp"


def _pictures(image: SalientImage) -> list[tuple[str, bytes]]:
    files = [
        (file_name(image.image_id, each.method), encode(each.picture, photo=True))
        for each in image.maps
    ]
    if not isinstance(image.frame, str):
        photo = encode(Image.fromarray(image.frame), photo=True)
        files.append((file_name(image.image_id, "image"), photo))
    return files


SECTION = SaliencySection()
