"""The network's prediction for each image, the rank of the label, and the class to explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Predictions:
    """One row per image.

    Attributes:
        predicted: int64 [N], class of the highest score, the first of equal ones.
        p_predicted: float32 [N], its softmax probability.
        p_label: float32 [N], that of the label; NaN without a label among the classes.
        label_rank: int64 [N], 1 + classes before the label by score, then by index; 0 without a
            label, or where a score is NaN: no class then comes before another.
    """

    predicted: Tensor
    p_predicted: Tensor
    p_label: Tensor
    label_rank: Tensor


def predict(scores: Tensor, labels: Tensor) -> Predictions:
    """Softmax, prediction and the label's rank.

    Args:
        scores: [N, classes], before the softmax.
        labels: int64 [N]; -1 for none. A label beyond the classes counts as none.

    Returns:
        The predictions, on the device of ``scores``.
    """
    scores = scores.float()
    probabilities = scores.softmax(dim=1)
    predicted = scores.argmax(dim=1)
    classes = scores.shape[1]
    labels = labels.to(scores.device)
    known = (labels >= 0) & (labels < classes) & ~scores.isnan().any(dim=1)
    label = labels.clamp(0, classes - 1)[:, None]
    of_label = scores.gather(1, label)
    index = torch.arange(classes, device=scores.device)
    before = (scores > of_label) | ((scores == of_label) & (index < label))
    return Predictions(
        predicted=predicted,
        p_predicted=probabilities.gather(1, predicted[:, None])[:, 0],
        p_label=torch.where(known, probabilities.gather(1, label)[:, 0], torch.nan),
        label_rank=torch.where(known, before.sum(dim=1) + 1, 0),
    )


def explained_classes(scores: Tensor, labels: Sequence[int | None], target: int | None) -> Tensor:
    """The class of each image whose score or probability a method explains.

    Args:
        scores: [N, classes], before the softmax.
        labels: of the N images; None, or a number that is no class: the prediction instead.
        target: the same class for all; None: each image's label.

    Returns:
        int64 [N], on the device of ``scores``.
    """
    if target is not None:
        return torch.full((len(scores),), target, device=scores.device)
    given = [-1 if label is None else label for label in labels]
    classes = torch.tensor(given, dtype=torch.int64, device=scores.device)
    known = (classes >= 0) & (classes < scores.shape[1])
    return torch.where(known, classes, scores.argmax(dim=1))
