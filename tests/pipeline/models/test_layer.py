from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from pipeline.models.network import open_network


def test_layer_maps_of_a_crop_are_as_large_as_the_crop():
    layer = next(layer for layer in open_network(nn.Conv2d(3, 5, 3).eval(), 16).layers[-1:])

    assert layer.maps(torch.zeros(2, 5, 4, 9)).shape == (2, 5, 4, 9)


def test_layer_boxes_follow_units_and_positions():
    module = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 5, stride=3, padding=1), pool=nn.MaxPool2d((1, 3), 1))
    )
    layer = open_network(module.eval(), 32).layers[-1]

    boxes = layer.boxes(np.array([0, 3, 1]), np.array([0, 2, 5]), np.array([0, 4, 1]))

    assert boxes.dtype == np.int64
    assert boxes.tolist() == [[-1, -1, 4, 10], [5, 11, 10, 22], [14, 2, 19, 13]]
    assert layer.field_size == (5, 11)
