"""What the overview and the command line say of the units: a strip of a few units per layer."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report import render
from pipeline.report.contact_sheet import SheetShape
from pipeline.report.manifests import published
from pipeline.report.section import Summary
from pipeline.report.sections.units.page_data import LayerFacts, UnitCard
from pipeline.store.run import Run
from schemas.secrets import mask

_TEASERS = {True: 4, False: 8}


@dataclass(frozen=True)
class LayerStrip:
    """A layer in the overview, with the contact sheets of a few of its units."""

    facts: LayerFacts
    shape: SheetShape
    teasers: tuple[UnitCard, ...]


def teasers(cards: Sequence[UnitCard], *, paired: bool) -> tuple[UnitCard, ...]:
    """A few living units, at equal steps over the layer."""
    living = [card for card in cards if not card.dead]
    count = min(_TEASERS[paired], len(living))
    return tuple(living[index * len(living) // count] for index in range(count))


def project_command(run: Run) -> str:
    """The command that adds projections to a run; empty where some are published.

    A projection of other layers is another plan, which their folder refuses.
    """
    if published(run, "project") is not None:
        return ""
    return f"unitscope project {shlex.quote(mask(run.url))}"


def summary(layers: Sequence[LayerStrip], command: str) -> Summary:
    """The section's summary.

    Args:
        layers: in the network's order.
        command: what would add projections; empty where nothing would.
    """
    units = sum(layer.facts.units for layer in layers)
    dead = sum(layer.facts.dead for layer in layers)
    unprojected = sum(not layer.shape.paired for layer in layers)
    then = f"next: {command}, then the gallery again"
    return Summary(
        counts=f"layers {len(layers):,}, units {units:,} (dead {dead:,})",
        remark=f"{unprojected:,} of {len(layers):,} layers show patches only; "
        f"{then if command else 'the projections are of other layers'}"
        if unprojected
        else "",
        facts=(
            ("layers", f"{len(layers):,}"),
            ("units", f"{units:,}"),
            ("dead units", f"{dead:,}"),
        ),
        hint=render.fragment("units/parts.html.j2", "hint", command if unprojected else ""),
        legend=render.fragment("units/overview.html.j2", "legend", unprojected < len(layers)),
        body=render.fragment("units/overview.html.j2", "strips", layers),
    )
