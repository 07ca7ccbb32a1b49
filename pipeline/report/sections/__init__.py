"""The sections of a gallery: one folder per job that has pages."""

from __future__ import annotations

from typing import Any

from pipeline.report.section import Section
from pipeline.report.sections.occlusion.pages import OcclusionSection
from pipeline.report.sections.units.pages import UnitsSection

SECTIONS: dict[str, Section[Any]] = {
    section.name: section
    for section in (
        UnitsSection(),
        OcclusionSection(),
    )
}
"""By the job's name, in the overview's order. A new section is one line here."""
