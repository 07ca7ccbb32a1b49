"""The filters of a layer as one PNG for ``unitscope show``, as ZF fig. 6: alone, or two runs'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from PIL import Image, ImageDraw

from pipeline.report.formats import percent
from pipeline.report.pictures import INK, MARGIN, PAPER, SOFT, draw_head, font_of, write
from pipeline.report.sections.filters.reader import NOISE, LayerLook
from pipeline.report.sections.filters.sheet import shown

MOST = 96
"""Filters drawn of a layer: those with the largest RMS."""
_CELL, _LABEL, _GAP, _BETWEEN = 48, 16, 7, 40
_TOP, _TITLE, _LINE = 96, 30, 19
_LETTER = 6.2  # pixels that a letter takes in the mean
_COLUMNS = ((32, 8), (72, 10), (MOST, 12))
_SENTENCES = 6
_WARN = (166, 61, 8)


@dataclass(frozen=True)
class _Panel:
    """A grid of filters.

    Attributes:
        title: above it.
        look: the filters.
        scale: see `sheet.shown`.
        lines: below it.
    """

    title: str
    look: LayerLook
    scale: float | None
    lines: tuple[str, ...]


def draw_filters(look: LayerLook) -> Image.Image:
    """One layer twice: each filter by its own contrast, and all on one scale."""
    findings = _sentences(look)
    panels = (
        _Panel("each filter by its own contrast", look, None, _numbers(look)),
        _Panel("all on one scale: what dominates", look, look.scale, findings),
    )
    return _draw(f"Filters of {look.layer}", _facts(look), panels)


def draw_beside(pair: Sequence[tuple[str, LayerLook]]) -> Image.Image:
    """A layer of each of two runs, each filter by its own contrast, its numbers below.

    Args:
        pair: name of the run and its layer.
    """
    panels = tuple(
        _Panel(f"{name}: {look.layer}", look, None, (_facts(look), *_numbers(look)))
        for name, look in pair
    )
    return _draw(
        "Filters of two networks", "each by its own contrast, the largest RMS first", panels
    )


def _facts(look: LayerLook) -> str:
    facts = dict(look.facts)
    return (
        f"{facts['filters']} filters, {look.kernel}, stride {facts['stride']}; median RMS "
        f"{facts['median RMS']}, largest {facts['largest']}"
    )


def _numbers(look: LayerLook) -> tuple[str, ...]:
    facts = dict(look.facts)
    lines = []
    if look.bands is not None:
        lines.append(f"energy at low, middle, high frequencies: {_shares(look.bands)}")
        lines.append(f"(filters of noise: {_shares(NOISE)})")
    if look.nyquist and look.alias is not None:
        lines.append(f"above {look.nyquist}, which its stride aliases: {percent(look.alias)}")
    counts = (f"{name} {facts[name]}" for name in ("dominant", "dead", "nearly dead"))
    return (*lines, ", ".join(counts))


def _shares(bands: Sequence[float]) -> str:
    return ", ".join(percent(share) for share in bands)


def _sentences(look: LayerLook) -> tuple[str, ...]:
    """The first finding of each kind, then the second, and so on."""
    groups = [group.sentences for group in look.findings]
    longest = max((len(group) for group in groups), default=0)
    turns = [group[turn] for turn in range(longest) for group in groups if turn < len(group)]
    left = look.found - min(_SENTENCES, len(turns))
    return (*turns[:_SENTENCES], *([f"and {left:,} more findings"] if left else []))


def _draw(title: str, facts: str, panels: Sequence[_Panel]) -> Image.Image:
    grids = [_grid(panel) for panel in panels]
    side = max(480, *(grid.width for grid in grids))
    texts = [
        [part for line in panel.lines for part in wrap(line, int(side / _LETTER))]
        for panel in panels
    ]
    top = max(grid.height for grid in grids)
    height = _TOP + _TITLE + top + 12 + _LINE * max(len(lines) for lines in texts) + MARGIN
    width = len(panels) * (side + _BETWEEN) - _BETWEEN
    page = Image.new("RGB", (width + 2 * MARGIN, height), PAPER)
    draw = ImageDraw.Draw(page)
    draw_head(draw, title, facts, width)
    for place, (panel, grid, lines) in enumerate(zip(panels, grids, texts, strict=True)):
        x = MARGIN + place * (side + _BETWEEN)
        write(draw, (x, _TOP), panel.title, 15, INK, side)
        page.paste(grid, (x, _TOP + _TITLE))
        for number, line in enumerate(lines):
            write(draw, (x, _TOP + _TITLE + top + 12 + _LINE * number), line, 14, SOFT, side)
    return page


def _grid(panel: _Panel) -> Image.Image:
    """The filters with their units' numbers; those of dead units in another colour."""
    filters = panel.look.filters[:MOST]
    columns = min(len(filters), next(c for most, c in _COLUMNS if len(filters) <= most))
    step, row = _CELL + _GAP, _CELL + _LABEL + _GAP
    rows = -(-len(filters) // columns)
    left = len(panel.look.filters) - len(filters)
    note = 20 if left else 0
    grid = Image.new("RGB", (columns * step - _GAP, rows * row - _GAP + note), PAPER)
    draw = ImageDraw.Draw(grid)
    for place, look in enumerate(filters):
        x, y = place % columns * step, place // columns * row
        tile = shown(look.values, panel.scale)
        scale = _CELL / max(tile.size)
        size = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
        grid.paste(tile.resize(size, Image.Resampling.NEAREST), (x, y))
        label = f"{look.unit} dead" if look.dead else str(look.unit)
        draw.text((x, y + _CELL + 1), label, _WARN if look.dead else SOFT, font_of(11))
    if left:
        draw.text((0, grid.height - 14), f"and {left:,} weaker ones", SOFT, font_of(12))
    return grid
