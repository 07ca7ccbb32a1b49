"""Which class an analysis of an image is about."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def target_classes(
    scores: Tensor, labels: Sequence[int | None], asked: int | None = None
) -> Tensor:
    """The class asked for, else the label where it is a class, else the prediction.

    Args:
        scores: [N, classes], of the clean images.
        labels: N, what the data set says; None where it says nothing.
        asked: one class for every image.

    Returns:
        int64 [N], on the device of ``scores``.
    """
    device = scores.device
    if asked is not None:
        return torch.full((len(scores),), asked, device=device)
    known = [label is not None and 0 <= label < scores.shape[1] for label in labels]
    given = [label if ok else 0 for label, ok in zip(labels, known, strict=True)]
    return torch.where(
        torch.tensor(known, device=device),
        torch.tensor(given, device=device),
        scores.argmax(dim=1),
    )
