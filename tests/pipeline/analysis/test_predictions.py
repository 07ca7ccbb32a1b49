"""Predictions equal a loop over the scores of each image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.analysis.predictions import explained_classes, predict
from tests.reference import prediction


@settings(max_examples=80)
@given(
    scores=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 7)),
        # Few levels, so that classes often tie.
        elements=st.sampled_from([-30.0, -1.5, -0.0, 0.0, 0.25, 0.25, 8.0, 90.0]),
    ),
    labels=st.lists(st.integers(-1, 9), min_size=6, max_size=6),
)
def test_predictions_equal_a_loop_over_images(scores: NDArray[np.float32], labels: list[int]):
    labels = labels[: len(scores)]
    found = predict(torch.from_numpy(scores), torch.tensor(labels))

    for place, (row, label) in enumerate(zip(scores.tolist(), labels, strict=True)):
        wanted = prediction(row, label)
        assert found.predicted[place].item() == wanted.predicted
        assert found.label_rank[place].item() == (wanted.label_rank or 0)
        assert found.p_predicted[place].item() == pytest.approx(wanted.p_predicted, rel=1e-5)
        if wanted.p_label is None:
            assert found.p_label[place].isnan()
        else:
            assert found.p_label[place].item() == pytest.approx(wanted.p_label, rel=1e-5, abs=1e-37)


def test_predictions_label_among_equal_scores_ranks_by_index():
    scores = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]]).expand(4, 5)
    found = predict(scores, torch.tensor([1, 2, 3, 0]))

    assert found.predicted.tolist() == [1, 1, 1, 1]
    assert found.label_rank.tolist() == [1, 2, 3, 4]


def test_predictions_label_beyond_the_classes_counts_as_none():
    found = predict(torch.tensor([[1.0, 2.0]]).expand(3, 2), torch.tensor([2, 1000, -1]))

    assert found.label_rank.tolist() == [0, 0, 0]
    assert found.p_label.isnan().all()


def test_predictions_of_scores_with_nan_rank_no_label():
    scores = torch.tensor([[torch.nan] * 3, [0.0, torch.nan, 1.0], [0.0, 2.0, 1.0]])
    found = predict(scores, torch.tensor([0, 0, 0]))

    assert found.label_rank.tolist() == [0, 0, 3]
    assert found.p_label.isnan().tolist() == [True, True, False]
    assert found.p_predicted.isnan().tolist() == [True, True, False]


def test_predictions_from_bf16_scores_are_computed_in_fp32():
    scores = torch.tensor([[3.0, 1.0, -2.0]])
    found = predict(scores.bfloat16(), torch.tensor([2]))

    assert found.p_predicted.dtype == torch.float32
    assert found.p_label.item() == pytest.approx(
        prediction(scores[0].tolist(), 2).p_label, rel=1e-6
    )


def test_explained_classes_are_the_target_else_the_label_else_the_prediction():
    scores = torch.tensor([[0.0, 2.0, 1.0]]).repeat(5, 1)
    labels = [0, None, 2, 3, -1]

    assert explained_classes(scores, labels, None).tolist() == [0, 1, 2, 1, 1]
    assert explained_classes(scores, labels, 2).tolist() == [2, 2, 2, 2, 2]
