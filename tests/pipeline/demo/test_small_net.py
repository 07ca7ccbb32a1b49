"""The demo's network: the same file again, with its own record, readable like any weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from pipeline.demo.scenes import write_scenes
from pipeline.demo.small_net import ARCH, Training, read_record, train_scene_net
from pipeline.demo.train import Epoch
from pipeline.models.load import load_model
from schemas.errors import DatasetError, ModelError
from schemas.specs import ModelSpec

TRAINING = Training(pictures=50, passes=2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty tiny scenes."""
    folder = tmp_path_factory.mktemp("pictures")
    write_scenes(folder, 50, 0, size_px=32)
    return folder


@pytest.fixture(scope="module")
def weights(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights after two passes over them."""
    file = tmp_path_factory.mktemp("weights") / "a.safetensors"
    file.write_bytes(_train(pictures))
    return file


def _train(pictures: Path, on_epoch: Callable[[Epoch], None] = lambda _: None) -> bytes:
    return train_scene_net(str(pictures / "manifest.csv"), TRAINING, on_epoch=on_epoch)


def test_train_scene_net_again_gives_the_same_bytes(pictures: Path, weights: Path):
    epochs: list[int] = []

    again = _train(pictures, lambda epoch: epochs.append(epoch.number))

    assert again == weights.read_bytes()
    assert epochs == [1, 2]


def test_weights_load_as_any_weights_and_differ_from_the_first_ones(weights: Path):
    loaded = load_model(ModelSpec(arch=ARCH, weights=str(weights)))
    first = load_model(ModelSpec(arch=ARCH, weights="random"))

    assert loaded.nonfinite == 0
    assert loaded.module.state_dict().keys() == first.module.state_dict().keys()
    assert loaded.weights_sha256 != first.weights_sha256
    assert loaded.module(torch.zeros(1, 3, 96, 96)).shape == (1, 10)


def test_record_says_how_and_how_well(weights: Path):
    made, right = read_record(weights)

    assert made == TRAINING
    assert right in [hits / 10 for hits in range(11)]


def test_held_out_pictures_are_not_trained_on(pictures: Path, weights: Path, tmp_path: Path):
    write_scenes(tmp_path, 50, 0, size_px=32)
    paths = pd.read_csv(tmp_path / "manifest.csv")["path"].tolist()
    for path in paths[4::5]:
        (tmp_path / path).write_bytes((pictures / paths[0]).read_bytes())

    state = safetensors.torch.load(_train(tmp_path))

    expected = safetensors.torch.load_file(weights)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_train_scene_net_leaves_the_number_of_threads(pictures: Path):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        _train(pictures)

        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_train_scene_net_of_a_wrong_folder_says_so(pictures: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match="lists 50 pictures, the training is of 60"):
        train_scene_net(str(pictures / "manifest.csv"), Training(60, 1), on_epoch=lambda _: None)

    write_scenes(tmp_path, 50, 0, size_px=32)
    (tmp_path / "car/00001.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"car/00001\.jpg: not_an_image .* draw the pictures"):
        _train(tmp_path)


@pytest.mark.parametrize("kind", ["text", "without a record", "absent"])
def test_read_record_of_another_file_is_an_error(kind: str, tmp_path: Path):
    file = tmp_path / "other.safetensors"
    if kind == "text":
        file.write_text("hello")
    elif kind == "without a record":
        safetensors.torch.save_file({"a": torch.zeros(1)}, file)

    with pytest.raises(ModelError, match="does not say how it was trained"):
        read_record(file)
