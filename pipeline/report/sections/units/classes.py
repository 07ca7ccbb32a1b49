"""Which classes the units of a scan like, by the classes of their top patches."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from pipeline.analysis.class_shares import ClassShares, chance_selectivity, class_shares
from pipeline.report.formats import percent, three_digits
from pipeline.store.run import Run

_SHOWN = 6


@dataclass(frozen=True)
class ClassBar:
    """A class among a unit's top patches: its name, how many are of it, and in percent."""

    name: str
    patches: str
    percent: float


@dataclass(frozen=True)
class UnitClasses:
    """The classes of a unit's top patches, as its detail shows them.

    Attributes:
        bars: the most frequent class first.
        words: how far they are those of one class, in words.
        selectivity: see `pipeline.analysis.class_shares.ClassShares`; -1 where it is not defined.
    """

    bars: tuple[ClassBar, ...]
    words: str
    selectivity: float


class ClassReader:
    """Reads the classes of a scan's images and of its top patches.

    A class is what the data set calls it: its name, or else its number.

    Args:
        run: scan is published.

    Raises:
        StoreError: a table cannot be read.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        columns = ["image_id", "label", "class_name"]
        images = run.table("images", job="scan", columns=columns).to_dict("records")
        named = {row["image_id"]: _name(row["label"], row["class_name"]) for row in images}
        self._classes = {image_id: name for image_id, name in named.items() if name}
        self._images = Counter(self._classes.values())
        self._chances: dict[int, float | None] = {}

    def read(self, layer: str) -> dict[int, UnitClasses]:
        """By unit of a layer; those without a class among their top patches are left out.

        Raises:
            StoreError: a table cannot be read.
        """
        if not self._images:
            return {}
        columns = ["unit", "rank", "image_id"]
        top = self._run.table("top_patches", job="scan", layer=layer, columns=columns)
        patches: dict[int, list[str]] = {}
        for unit, image_id in zip(top["unit"].tolist(), top["image_id"].tolist(), strict=True):
            if image_id in self._classes:
                patches.setdefault(unit, []).append(self._classes[image_id])
        found = {unit: class_shares(own, self._images) for unit, own in patches.items()}
        return {
            unit: describe(shares, self._chance(shares.patches))
            for unit, shares in found.items()
            if shares is not None
        }

    def _chance(self, patches: int) -> float | None:
        if patches not in self._chances:
            sizes = list(self._images.values())
            self._chances[patches] = chance_selectivity(patches, sizes)
        return self._chances[patches]


def describe(shares: ClassShares[str], chance: float | None) -> UnitClasses:
    """The shares, formatted.

    Args:
        shares: of a unit.
        chance: the mean selectivity of as many images drawn at random.
    """
    shown, rest = shares.counts[:_SHOWN], shares.counts[_SHOWN:]
    bars = [_bar(name, count, shares.patches) for name, count in shown]
    if rest:
        others = sum(count for _, count in rest)
        noun = "other class" if len(rest) == 1 else f"{len(rest)} other classes"
        bars.append(_bar(noun, others, shares.patches))
    first = shares.counts[0][0]
    words = (
        f"{percent(shares.share)} of its {shares.patches:,} top patches are of class {first}, "
        f"{three_digits(shares.lift)} times the class's share of the images."
    )
    if shares.selectivity is not None and chance is not None:
        words += (
            f" Selectivity {three_digits(shares.selectivity)}, from 0, evenly over classes, to 1, "
            f"a single class; images drawn at random have {three_digits(chance)} on average."
        )
    chosen = -1.0 if shares.selectivity is None else round(shares.selectivity, 6)
    return UnitClasses(tuple(bars), words, chosen)


def _bar(name: str, count: int, patches: int) -> ClassBar:
    return ClassBar(name, f"{count:,}", round(100 * count / patches, 2))


def _name(label: float | None, class_name: str | None) -> str:
    if isinstance(class_name, str):
        return class_name
    return "" if pd.isna(label) else f"class {int(label)}"
