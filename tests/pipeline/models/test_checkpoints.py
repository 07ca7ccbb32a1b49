"""Checkpoints come in the order of training, under names that tell them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.models.checkpoints import find_checkpoints, natural_key
from schemas.errors import ModelError, SpecError


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def _names(*places: object) -> list[str]:
    return [each.name for each in find_checkpoints([str(place) for place in places])]


def test_glob_comes_in_natural_order(tmp_path: Path):
    _touch(tmp_path, "epoch10.pth", "epoch2.pth", "epoch1.pth", "notes.txt")

    found = find_checkpoints([str(tmp_path / "epoch*.pth")])

    assert [each.name for each in found] == ["epoch1", "epoch2", "epoch10"]
    assert [each.url for each in found] == [str(tmp_path / f"epoch{n}.pth") for n in (1, 2, 10)]


def test_places_come_in_the_order_given(tmp_path: Path):
    _touch(tmp_path, "start.pth", "e2.pth", "e1.pth", "best.pth")

    assert _names(tmp_path / "start.pth", tmp_path / "e*.pth", tmp_path / "best.pth") == [
        "start", "e1", "e2", "best",
    ]  # fmt: skip
    assert _names(tmp_path / "e{1..2}.pth") == ["e1", "e2"]


def test_names_are_as_long_as_tells_them_apart(tmp_path: Path):
    _touch(tmp_path, "step-500/model.pth", "step-1000/model.pth", "a/x/e1.pth", "b/x/e1.pth")
    _touch(tmp_path, "a/x/e2.pth", "same.pth", "same.safetensors")

    assert _names(tmp_path / "step-*" / "model.pth") == ["step-500", "step-1000"]
    assert _names(tmp_path / "*" / "x" / "*.pth") == ["a-x-e1", "a-x-e2", "b-x-e1"]
    assert _names(tmp_path / "same.*") == ["same.pth", "same.safetensors"]


def test_names_are_safe_as_folders(tmp_path: Path):
    _touch(tmp_path, "epoch 1.5%.pth", "épôque 2.pth", ".3.pth")

    paths = [tmp_path / name for name in ("epoch 1.5%.pth", "épôque 2.pth", ".3.pth")]
    assert _names(*paths) == ["epoch_1.5_", "_p_que_2", "3"]


@pytest.mark.parametrize(
    ("places", "error", "says"),
    [
        (["none*.pth"], ModelError, "none.*matches no file"),
        (["random", "e1.pth"], ModelError, "'random' names no file"),
        (["DEFAULT"], ModelError, "'DEFAULT' names no file"),
        (["e1.pth"], SpecError, "e1.pth is the only one"),
        (["e*.pth", "e2.pth"], SpecError, "e2.pth is named twice"),
        (["a b.pth", "a%b.pth"], SpecError, "rename the files"),
    ],
)
def test_places_that_cannot_be_meant_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    places: list[str],
    error: type[Exception],
    says: str,
):
    monkeypatch.chdir(_touch(tmp_path, "e1.pth", "e2.pth", "a b.pth", "a%b.pth"))
    if "e*.pth" not in places and places != ["e1.pth"]:
        (tmp_path / "e2.pth").unlink()

    with pytest.raises(error, match=says):
        find_checkpoints(places)


def test_natural_key_sorts_numbers_by_value_and_texts_by_letter():
    words = ["b1", "a10", "a9b2", "a9", "10", "9", "a09"]

    assert sorted(words, key=natural_key) == ["9", "10", "a09", "a9", "a9b2", "a10", "b1"]
