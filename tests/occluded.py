"""An image under one window of 2 x 2 positions, as `OcclusionReader` would read it."""

from __future__ import annotations

import numpy as np

from pipeline.report.patches import Patch
from pipeline.report.sections.occlusion.map_projection import MapProjection
from pipeline.report.sections.occlusion.reader import Evidence, Occluded, WindowMap

P = np.array([[0.75, 0.25], [0.5, 1.0]], np.float32)
WINDOW = WindowMap(
    window=0,
    size=(16, 8),
    stride_px=4,
    fill="grey",
    y_px=np.array([0, 4]),
    x_px=np.array([0, 4]),
    p=P,
    predicted=np.array([[3, 3], [3, 9]], np.int32),
    activity=P * 100,
    largest_drop=0.5,
    drop_at=(4, 8),
    half_area=0.125,
    changed=0.25,
    drop_inside=None,
    pointed=None,
)
IMAGE = Occluded(
    image_id=12,
    image="a.png",
    class_name="cat",
    target=9,
    p_target=0.75,
    predicted=3,
    p_predicted=0.2,
    layer="conv1",
    unit=4,
    activity=50.0,
    windows=(WINDOW,),
    frame="image gone",
    frame_px=32,
    projection=MapProjection(None, (0, 0, 8, 8), 5.0, "not made"),
    evidence=Evidence((), None, scanned=False),
)
PATCH = Patch(1.0, "a.png", "cat", (0, 0, 8, 8), None)
