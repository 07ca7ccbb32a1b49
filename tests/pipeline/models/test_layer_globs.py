"""Globs choose names in their order; what matches nothing is refused in the caller's words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.models.layer_globs import match_layers
from schemas.errors import LayerError
from schemas.specs import LayerSelection

NAMES = ("conv1", "relu1", "conv2", "relu2", "fc")


def match(
    *include: str, exclude: tuple[str, ...] = (), default: tuple[str, ...] | None = None
) -> list[str]:
    selection = LayerSelection(include=include, exclude=exclude)
    return match_layers(NAMES, selection, missing="was not scanned", default=default)


def test_names_are_chosen_in_their_own_order():
    assert match("relu2", "conv*") == ["conv1", "conv2", "relu2"]
    assert match("*1", exclude=("relu?",)) == ["conv1"]
    assert match("[!cf]*") == ["relu1", "relu2"]


def test_nothing_included_is_the_default_or_all():
    assert match() == list(NAMES)
    assert match(exclude=("relu*",)) == ["conv1", "conv2", "fc"]
    assert match(default=("relu1", "fc")) == ["relu1", "fc"]
    assert match("conv1", default=("relu1", "fc")) == ["conv1"]
    with pytest.raises(LayerError, match="leaves no layer; widen include or drop exclude"):
        match(default=())


def test_a_glob_without_a_match_is_refused_in_the_callers_words():
    with pytest.raises(LayerError, match=r"^layers: 'rleu2' was not scanned; nearest: relu2"):
        match("rleu2")
    with pytest.raises(LayerError, match=r"^layers: 'pool9' was not scanned; choices: conv1"):
        match("conv1", exclude=("pool9",))
    with pytest.raises(LayerError, match="'RELU1' was not scanned"):
        match("RELU1")


def test_a_glob_that_matches_only_what_is_refused_says_why():
    selection = LayerSelection(include=("up*",))
    refused = {"up": "it mixes positions"}
    with pytest.raises(LayerError, match=r"'up\*' is unknown; up cannot be scanned: it mixes"):
        match_layers(NAMES, selection, missing="is unknown", refused=refused)


def test_a_selection_that_leaves_nothing_is_refused():
    with pytest.raises(LayerError, match="the selection leaves no layer"):
        match("relu1", exclude=("relu*",))


def test_no_model_library_is_loaded():
    tell = "import sys, pipeline.models.layer_globs; print('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
