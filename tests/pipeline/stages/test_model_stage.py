from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from pipeline.stages.model_stage import prepare
from tests.tiny_nets import flat, small

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    """What `prepare` sets is of the whole process."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic)
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_prepare_gives_parameters_and_buffers_the_dtype_of_the_input(
    precision: str, dtype: torch.dtype
):
    net = nn.Sequential(small(), nn.BatchNorm1d(5))

    assert prepare(net, CPU, precision) == dtype
    assert {parameter.dtype for parameter in net.parameters()} == {dtype}
    assert net[1].running_mean.dtype == dtype
    assert net[1].num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("bf16", False), ("tf32", True)])
def test_prepare_allows_tf32_only_where_it_is_asked_for(precision: str, tf32: bool):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not tf32
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False

    prepare(small(), CPU, precision)

    assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)


def test_prepare_lays_convolutions_out_in_channels_last_and_keeps_the_scores():
    images = torch.rand(4, 3, 20, 20)
    net = small().eval()
    with torch.inference_mode():
        plain = net(images)
        prepare(net, CPU, "fp32")
        found = net(images.contiguous(memory_format=torch.channels_last))

    assert net.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, plain)


def test_prepare_takes_a_network_without_convolutions():
    assert prepare(flat(), CPU, "fp32") == torch.float32
