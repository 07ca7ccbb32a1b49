"""The sections of a gallery: one folder per job that has pages."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pipeline.report.section import DrawnSection, PaperSection, Section

_FOUND: list[Section] = [
    import_module(f"pipeline.report.sections.{folder}.pages").SECTION
    for folder in (
        "units",
        "occlusion",
        "correspond",
        "saliency",
        "class_models",
        "evolve",
        "invariance",
    )
]
SECTIONS: dict[str, Section] = {section.name: section for section in _FOUND}
"""By the job's name, in the overview's order. A new section is one line above: its folder."""
DRAWN: dict[str, DrawnSection[Any]] = {
    name: section for name, section in SECTIONS.items() if isinstance(section, DrawnSection)
}
"""Those that also draw a picture for ``unitscope show``."""
PAPER: dict[str, PaperSection[Any]] = {
    name: section for name, section in SECTIONS.items() if isinstance(section, PaperSection)
}
"""Those of which a figure of the paper is composed."""
