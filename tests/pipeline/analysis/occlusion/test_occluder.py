"""Both engines against the definition, Captum and its own test cases."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torchvision import models

from pipeline.analysis.occlusion.dense import Dense
from pipeline.analysis.occlusion.grid import Grid, windows_along
from pipeline.analysis.occlusion.incremental import Incremental
from pipeline.analysis.occlusion.metrics import pixel_means
from pipeline.analysis.occlusion.occluder import Occluder, Occlusion, softmax
from pipeline.analysis.occlusion.plan import make_plan
from pipeline.models.load import load_model
from pipeline.models.network import Network, open_network
from schemas.errors import ModelError
from schemas.jobs.occlude import SlidingWindow
from schemas.specs import ModelSpec
from tests.families import CONVOLUTIONAL, Family
from tests.reference import occluded
from tests.tiny_nets import small

SIDE = 24


def window(height: int = 5, width: int = 6, stride: int = 4) -> SlidingWindow:
    return SlidingWindow(height_px=height, width_px=width, stride_px=stride)


def occluder(
    network: Network, layer: str, own: SlidingWindow, engine: str, batch_bytes: int = 2**20
) -> Occluder:
    side = 224 if len(network.layers) > 20 else SIDE
    return Occluder(
        network, network.layer(layer), own, frame_px=side, engine=engine, batch_bytes=batch_bytes
    )


def frames(side: int = SIDE, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frame = torch.randn(1, 3, side, side, generator=generator, dtype=dtype)
    return frame, torch.full_like(frame, 0.25)


@pytest.mark.parametrize("engine", ["dense", "incremental"])
@pytest.mark.parametrize("batch_bytes", [1, 2**24])
def test_occlude_equals_the_definition(engine: str, batch_bytes: int):
    module = small().double().eval()
    own = occluder(open_network(module, SIDE), "relu2", window(), engine, batch_bytes)
    frame, fill = frames(dtype=torch.float64)

    found = own.occlude(frame, fill)

    windows = [(y, x, 5, 6) for y, x in own.grid.corners.tolist()]
    scores, sums = occluded(module, frame, fill, windows, module.relu2)
    clean, whole = occluded(module, frame, fill, [(0, 0, 0, 0)], module.relu2)
    torch.testing.assert_close(found.scores, scores.float(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.clean, clean[0].float(), rtol=1e-6, atol=1e-7)
    assert found.unit == int(whole[0].argmax())
    assert found.clean_activity == pytest.approx(float(whole[0].max()))
    torch.testing.assert_close(found.activity, sums[:, found.unit], rtol=1e-9, atol=1e-9)
    assert own.engine == engine


@pytest.mark.parametrize("family", CONVOLUTIONAL, ids=lambda family: family.name)
def test_engines_agree_in_fp32_over_every_family(family: Family):
    side = max(family.narrow, 65)
    network = open_network(family.build(signed=True), side)
    layer = [x for x in network.layers if x.activation and x.default and x.layout.map_size[0] > 1][
        -1
    ]
    frame, fill = frames(side)
    for own in (window(*size, step) for size in ((8, 8), (16, 17), (33, 32)) for step in (4, 8)):
        dense, found = (
            Occluder(network, layer, own, frame_px=side, engine=engine, batch_bytes=2**26).occlude(
                frame, fill
            )
            for engine in ("dense", "incremental")
        )
        p, wanted = softmax(found.scores), softmax(dense.scores)
        assert np.abs(p - wanted).max() <= 1e-5
        moved = (dense.scores - dense.clean).abs().max()
        assert (found.scores - dense.scores).abs().max() < 0.05 * moved
        torch.testing.assert_close(found.activity, dense.activity, rtol=1e-4, atol=0)
        best, second = np.sort(wanted, axis=1)[:, :-3:-1].T
        decided = best - second > 1e-5
        assert np.array_equal(p.argmax(axis=1)[decided], wanted.argmax(axis=1)[decided])
        assert found.unit == dense.unit


def test_occlude_leaves_the_frame_alone():
    frame, fill = frames()
    kept = frame.clone()
    for engine in ("dense", "incremental"):
        occluder(open_network(small().eval(), SIDE), "relu2", window(), engine).occlude(frame, fill)

    assert torch.equal(frame, kept)


class _Branching(nn.Module):
    """A forward that no tracer follows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small()

    def forward(self, images: Tensor) -> Tensor:
        if images.sum() > 1e9:
            raise ValueError("too bright")
        scores: Tensor = self.net(images)
        return scores


def test_occlude_of_a_network_that_cannot_be_traced_is_dense():
    frame, fill = frames()
    network = open_network(_Branching().eval(), SIDE)
    assert network.geometry is None

    own = occluder(network, "net.relu2", window(), "auto")

    assert own.engine == "dense"
    plain = occluder(open_network(small().eval(), SIDE), "relu2", window(), "dense")
    torch.testing.assert_close(own.occlude(frame, fill).scores, plain.occlude(frame, fill).scores)
    with pytest.raises(ModelError, match=r"engine incremental needs .* take engine dense"):
        occluder(network, "net.relu2", window(), "incremental")


@pytest.mark.parametrize("engine", ["dense", "incremental"])
def test_occlude_keeps_the_maps_of_a_batch_within_a_fifth_of_its_bytes(engine: str):
    network = open_network(models.resnet18(weights=None).eval(), 96)
    layer = network.layer("layer4.1.relu_1")
    frame, fill = frames(96)
    peaks = []
    for batch_bytes in (5 * 2**21, 5 * 2**25):
        own = Occluder(
            network,
            layer,
            window(12, 12, 6),
            frame_px=96,
            engine=engine,
            batch_bytes=batch_bytes,
        )
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            own.occlude(frame, fill)
        peaks.append(_peak_bytes(seen))

    assert 2**22 < peaks[1] - peaks[0] <= 2**25


def _peak_bytes(seen: profile) -> int:
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events))


def test_strongest_map_of_a_layer_with_nan_is_another():
    net = small().eval()
    with torch.no_grad():
        net.conv2.weight[3] = torch.nan
    frame, fill = frames()

    found = occluder(open_network(net, SIDE), "conv2", window(), "dense").occlude(frame, fill)

    assert found.unit != 3
    assert np.isfinite(found.clean_activity)


@pytest.fixture(scope="module")
def goldfish(shared_data: Path) -> tuple[nn.Module, Network]:
    weights = shared_data / "weights" / "squeezenet1_1.safetensors"
    module = load_model(ModelSpec(arch="squeezenet1_1", weights=str(weights))).module
    return module, open_network(module, 224)


@pytest.fixture(scope="module")
def found_on_it(goldfish: tuple[nn.Module, Network]) -> dict[str, Occlusion]:
    _, network = goldfish
    frame, fill = frames(224)
    own = window(56, 56, 28)
    return {
        engine: occluder(network, "features.12.expand3x3_activation", own, engine, 2**28).occlude(
            frame, fill
        )
        for engine in ("dense", "incremental")
    }


def test_engines_agree_on_trained_weights(found_on_it: dict[str, Occlusion]):
    dense, incremental = found_on_it["dense"], found_on_it["incremental"]

    assert np.abs(softmax(dense.scores) - softmax(incremental.scores)).max() <= 1e-5
    torch.testing.assert_close(incremental.activity, dense.activity, rtol=1e-4, atol=0)
    assert torch.equal(dense.scores.argmax(1), incremental.scores.argmax(1))
    assert dense.unit == incremental.unit


def test_maps_equal_captum_s_after_averaging_as_it_does(
    goldfish: tuple[nn.Module, Network], found_on_it: dict[str, Occlusion]
):
    module, network = goldfish
    frame, fill = frames(224)
    own = occluder(network, "features.12.expand3x3_activation", window(56, 56, 28), "dense", 2**28)
    target = int(found_on_it["dense"].clean.argmax())
    with torch.no_grad():
        captum = CaptumOcclusion(module).attribute(
            frame,
            sliding_window_shapes=(3, 56, 56),
            strides=(3, 28, 28),
            baselines=fill,
            target=target,
            perturbations_per_eval=8,
        )

    for found in found_on_it.values():
        drop = found.clean[target] - found.scores[:, target]
        ours = pixel_means(drop.double().numpy(), own.grid)
        scale = np.abs(ours).max()
        assert np.abs(ours - captum[0, 0].numpy()).max() <= 1e-4 * scale


class _CaptumNet(nn.Module):
    """Captum's test network; two inputs are summed before the convolution."""

    def __init__(self, other: Tensor) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(8, 4)
        self.register_buffer("other", other)
        with torch.no_grad():
            self.conv.weight.fill_(1.0)
            self.conv.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.fc.weight.copy_(torch.tensor([1.0] * 5 + [-1.0] * 3).repeat(4, 1))
            self.fc.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.conv(images[:, :1] + self.other))
        scores: Tensor = torch.relu(self.fc(maps.flatten(1)))
        return scores


@pytest.mark.parametrize("case", ["captum_occlusion_conv_full", "captum_occlusion_conv_stride"])
@pytest.mark.parametrize("engine", ["dense", "incremental"])
def test_occlude_equals_captum_s_own_test_case(shared_data: Path, case: str, engine: str):
    cases = json.loads((shared_data / "unit_cases.json").read_text())
    wanted = next(each for each in cases if each["id"] == case)
    images = [torch.tensor(image)[None, None] for image in wanted["inputs"]]
    for own in (0, 1):
        network = open_network(_CaptumNet(images[1 - own]).eval(), 4)
        layer = network.layer("relu")
        size = (wanted["windows"][own][0], wanted["windows"][own][1])
        sides = zip(size, wanted["strides"][own], strict=True)
        rows, columns = (windows_along(4, side, step) for side, step in sides)
        grid = Grid(rows, columns, size, 4)
        plan = make_plan(network.geometry, grid, live_bytes=2**20)
        runs = {
            "dense": lambda: Dense(network, layer, grid, 2**20),  # noqa: B023
            "incremental": lambda: Incremental(network.geometry, plan, "relu"),  # noqa: B023
        }[engine]()

        with torch.inference_mode():
            clean, _ = runs.record_clean(images[own].expand(1, 3, 4, 4))
            scores = runs.run(torch.zeros(1, 3, 4, 4), lambda *_: None)

        drop = clean[0, wanted["target"]] - scores[:, wanted["target"]]
        means = pixel_means(drop.double().numpy(), grid)
        np.testing.assert_allclose(means, np.array(wanted["expected"][own]), atol=wanted["atol"])
