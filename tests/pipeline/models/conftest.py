"""Fixtures for the tests of models: every family of torchvision's classifiers, and gradients.

Invariant: one thread a test, because many threads on small maps only wait for each other.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.families import CONVOLUTIONAL, TRANSFORMERS, Family


def _name(family: Family) -> str:
    return family.name


@pytest.fixture(scope="session")
def gradients() -> ModuleType:
    """The module ``gradients.py`` beside this file."""
    place = Path(__file__).with_name("gradients.py")
    specification = importlib.util.spec_from_file_location(place.stem, place)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(params=CONVOLUTIONAL, ids=_name)
def convolutional(request: pytest.FixtureRequest) -> Family:
    """Every family of convolutional networks in turn."""
    return request.param


@pytest.fixture(params=TRANSFORMERS, ids=_name)
def transformer(request: pytest.FixtureRequest) -> Family:
    """Every family that mixes all positions in turn."""
    return request.param


@pytest.fixture(params=[*CONVOLUTIONAL, *TRANSFORMERS], ids=_name)
def family(request: pytest.FixtureRequest) -> Family:
    """Every family in turn."""
    return request.param


@pytest.fixture
def family_named() -> Callable[[str], Family]:
    """A family by its name."""
    return {family.name: family for family in [*CONVOLUTIONAL, *TRANSFORMERS]}.__getitem__


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads that share busy cores wait for each other: ten times slower, measured."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
