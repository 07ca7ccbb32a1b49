from __future__ import annotations

import torch

from pipeline.analysis.targets import target_classes

SCORES = torch.tensor([[0.0, 2.0, 1.0]] * 4)


def test_target_is_the_label_where_it_is_a_class_else_the_prediction():
    assert target_classes(SCORES, [2, None, 3, -1]).tolist() == [2, 1, 1, 1]


def test_target_asked_for_is_that_of_every_image():
    assert target_classes(SCORES, [2, None, 3, 0], 0).tolist() == [0, 0, 0, 0]
