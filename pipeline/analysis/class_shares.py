"""Which classes a unit likes: the classes of its top patches, and how selective they are.

Known from the top patches alone. An index over all images, such as the class selectivity of Morcos
et al. (2018), needs the unit's mean activation on every class, which a scan does not keep.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

ClassT = TypeVar("ClassT", bound=Hashable)


@dataclass(frozen=True)
class ClassShares(Generic[ClassT]):
    """The classes of one unit's top patches.

    Attributes:
        counts: (class, patches), the most frequent first, equal ones in the order of the patches.
        patches: those that have a class, n; at least one.
        share: of the most frequent class among them, ``max_c n_c / n``, from 1/n to 1; Zhou et al.
            (2015) call it a unit's precision.
        lift: that share against the class's share of the images, ``share / (N_c / N)``; 1 is what
            patches of images drawn at random have on average, N / N_c is the most.
        selectivity: ``1 - H / log(min(n, C))`` with ``H = -sum_c p_c log p_c``, ``p_c = n_c / n``
            and C the classes of the images; one less the evenness of Pielou (1966). From 0, evenly
            over as many classes as there can be, to 1, a single class. None where n or C is 1,
            since it then says nothing.
    """

    counts: tuple[tuple[ClassT, int], ...]
    patches: int
    share: float
    lift: float
    selectivity: float | None


def class_shares(
    patches: Sequence[ClassT], images: Mapping[ClassT, int]
) -> ClassShares[ClassT] | None:
    """The classes that a unit likes.

    Args:
        patches: the class of each top patch that has one, the strongest first.
        images: images of each class in the data set, each at least 1; every class of a patch is
            among them.

    Returns:
        The shares; None where no patch has a class.
    """
    if not patches:
        return None
    counts = Counter(patches).most_common()
    n, (first, most) = len(patches), counts[0]
    share = most / n
    entropy = -math.fsum(count / n * math.log(count / n) for _, count in counts)
    largest = math.log(min(n, len(images)))
    return ClassShares(
        counts=tuple(counts),
        patches=n,
        share=share,
        lift=share * sum(images.values()) / images[first],
        selectivity=_inside(1 - entropy / largest) if largest > 0 else None,
    )


def chance_selectivity(patches: int, sizes: Sequence[int]) -> float | None:
    """The mean `ClassShares.selectivity` of images that are drawn at random, none of them twice.

    What an index of few patches must be held against: nine of ten equal classes have 0.2, not 0.
    The patches of class c then follow the hypergeometric distribution, so that
    ``E[H] = -sum_c sum_k P(n_c = k) k/n log(k/n)``.

    Args:
        patches: n, at most the images.
        sizes: images of each class, each at least 1.

    Returns:
        0 to 1; None where the selectivity is not defined.
    """
    largest = math.log(min(patches, len(sizes))) if patches else 0.0
    if largest <= 0:
        return None
    images = sum(sizes)
    draws = math.comb(images, patches)
    entropy = 0.0
    for size, classes in sorted(Counter(sizes).items()):
        for k in range(1, min(size, patches) + 1):
            p = math.comb(size, k) * math.comb(images - size, patches - k) / draws
            entropy -= classes * p * k / patches * math.log(k / patches)
    return _inside(1 - entropy / largest)


def _inside(share: float) -> float:
    """What rounding has put outside 0 to 1."""
    return min(max(share, 0.0), 1.0)
