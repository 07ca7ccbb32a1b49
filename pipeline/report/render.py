"""From page data to the text of HTML pages and scripts.

Invariant: every value is escaped for where it stands; a page holds no inline script and no inline
style, so that its content security policy can forbid both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report.overview import Overview
from pipeline.report.sections.occlusion.captions import hexadecimal
from pipeline.report.sections.occlusion.heatmaps import SCALE
from pipeline.report.sections.occlusion.page_data import OcclusionIndex, OcclusionPage
from pipeline.report.sections.units import histogram
from pipeline.report.sections.units.page_data import LayerPage, UnitDetail

STATIC_FILES = ("gallery.css", "gallery.js", "icon.svg", "occlusion.css")
"""What pages refer to, below ``static/`` of the gallery."""

_HERE = Path(__file__).parent


def overview_html(page: Overview) -> str:
    """The gallery's first page."""
    return _render("overview.html.j2", page=page, root="")


def layer_html(page: LayerPage) -> str:
    """A layer's page."""
    drawing = {"width": histogram.WIDTH, "height": histogram.HEIGHT}
    return _render("layer.html.j2", page=page, root="../", drawing=drawing)


def occlusion_html(page: OcclusionPage) -> str:
    """The page of an occluded image."""
    last = len(SCALE) - 1
    stops = [(round(100 * at / last), hexadecimal(colour)) for at, colour in enumerate(SCALE)]
    return _render("occlusion.html.j2", page=page, root="../", stops=stops)


def occlusions_html(index: OcclusionIndex) -> str:
    """The page of all occluded images."""
    return _render("occlusions.html.j2", index=index, root="")


def details_js(details: Sequence[UnitDetail]) -> str:
    """The script that hands a layer's details to its page, one a unit, in their order."""
    return _render("details.js.j2", details=[asdict(detail) for detail in details])


def static_file(name: str) -> bytes:
    """The content of one of `STATIC_FILES`."""
    return (_HERE / "static" / name).read_bytes()


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(_HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return environment
