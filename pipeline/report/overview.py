"""What a gallery's first page says, worked out from a run's manifests and layers.

Invariant: as in `pipeline.report.sections.units.page_data`, and no secret of a URL or a command
gets through.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.report.contact_sheet import SheetShape
from pipeline.report.sections.units.page_data import LayerFacts, UnitCard
from schemas.jobs.scan import ScanSpec
from schemas.manifest import Manifest
from schemas.secrets import mask

_TEASERS = {True: 4, False: 8}


@dataclass(frozen=True)
class LayerRow:
    """A layer in the overview, with the sheets of a few of its units."""

    facts: LayerFacts
    shape: SheetShape
    teasers: tuple[UnitCard, ...]


@dataclass(frozen=True)
class Overview:
    """The first page.

    Attributes:
        title: the network.
        run: the run's folder, as it was given.
        facts: (name, value) of the run.
        hint: a command that would add to the gallery; empty where nothing is missing.
        layers: in the network's order.
        occluded: how many images have occlusion pages.
    """

    title: str
    run: str
    facts: tuple[tuple[str, str], ...]
    hint: str
    layers: tuple[LayerRow, ...]
    occluded: int = 0


def teasers(cards: Sequence[UnitCard], *, paired: bool) -> tuple[UnitCard, ...]:
    """A few living units, evenly spread over the layer."""
    living = [card for card in cards if not card.dead]
    count = min(_TEASERS[paired], len(living))
    return tuple(living[index * len(living) // count] for index in range(count))


def overview(
    run: str,
    scan: Manifest,
    project: Manifest | None,
    layers: Sequence[LayerRow],
    *,
    occluded: int = 0,
) -> Overview:
    """The first page.

    Args:
        run: the run's folder, as it was given.
        scan: the scan's manifest.
        project: the projection job's; None where it is not published.
        layers: in the network's order.
        occluded: how many images have occlusion pages.
    """
    spec = ScanSpec.model_validate(scan.spec)
    units = sum(row.facts.units for row in layers)
    dead = sum(row.facts.dead for row in layers)
    facts = [
        ("data", mask(spec.data.uri)),
        ("images", f"{scan.counts.get('images', 0):,}"),
        ("rejected", f"{scan.counts.get('rejects', 0):,}"),
        ("layers", f"{len(layers):,}"),
        ("units", f"{units:,}"),
        ("dead units", f"{dead:,}"),
        ("weights", mask(spec.model.weights)),
        ("precision", spec.precision),
        ("scanned", _moment(scan.provenance.created_at)),
    ]
    if project is not None:
        facts.append(("projected", _moment(project.provenance.created_at)))
    missing = not all(row.shape.paired for row in layers)
    return Overview(
        title=spec.model.arch,
        run=mask(run),
        facts=tuple(facts),
        hint=project_command(run, project) if missing else "",
        layers=tuple(layers),
        occluded=occluded,
    )


def project_command(run: str, project: Manifest | None) -> str:
    """The command that adds projections to a run; empty where some are published.

    A projection of other layers is another plan, which their folder refuses.
    """
    return "" if project is not None else f"unitscope project {shlex.quote(mask(run))}"


def _moment(iso: str) -> str:
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
