"""What every benchmark is told.

Invariant: no benchmark looks for data or settings anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.specs import DatasetSpec, ModelSpec


@dataclass(frozen=True)
class Options:
    """The choices of one run.

    Attributes:
        data: real photographs with labels, a few hundred or more.
        squeezenet: SqueezeNet 1.1 and its weights.
        quick: fewer images and pairs; the spread then says little.
    """

    data: DatasetSpec
    squeezenet: ModelSpec
    quick: bool
