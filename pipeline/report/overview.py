"""The gallery's first page: the run's facts from its manifests, and what each section shows of it.

No secret of a URL or a command gets through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.report import render
from pipeline.report.manifests import published
from pipeline.report.section import Summary
from pipeline.store.run import Run
from schemas.jobs.scan import ScanSpec
from schemas.secrets import mask

_DATED = {"scan": "scanned", "project": "projected"}


@dataclass(frozen=True)
class Overview:
    """The first page.

    Attributes:
        title: the network.
        run: the run's folder, as it was given.
        facts: (name, value) of the run.
        sections: in their order on the page.
    """

    title: str
    run: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Summary, ...]


def overview(run: Run, sections: Sequence[Summary]) -> Overview:
    """The first page of a run whose scan is published."""
    scan = run.manifest("scan")
    spec = ScanSpec.model_validate(scan.spec)
    manifests = {word: published(run, job) for job, word in _DATED.items()}
    return Overview(
        title=spec.model.arch,
        run=mask(run.url),
        facts=(
            ("data", mask(spec.data.uri)),
            ("images", f"{scan.counts.get('images', 0):,}"),
            ("rejected", f"{scan.counts.get('rejects', 0):,}"),
            *(fact for section in sections for fact in section.facts),
            ("weights", mask(spec.model.weights)),
            ("precision", spec.precision),
            *(
                (word, _utc(manifest.provenance.created_at))
                for word, manifest in manifests.items()
                if manifest is not None
            ),
        ),
        sections=tuple(sections),
    )


def overview_html(page: Overview) -> str:
    """The page's HTML."""
    return render.html("overview.html.j2", page=page, root="")


def _utc(iso: str) -> str:
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
