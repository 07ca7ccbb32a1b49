"""Checkpoints of `tiny_nets.small` between two drawings of its weights, written as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import tests.tiny_nets as nets

STEPS = (0, 2, 3, 10)
NAMES = tuple(f"step{step}" for step in STEPS)


def state_at(step: int) -> dict[str, Tensor]:
    """The weights at a step: from those of `nets.small` at 0 to others at 10."""
    first = nets.small().state_dict()
    draws = torch.Generator().manual_seed(3)
    change = {
        name: torch.randn(tensor.shape, generator=draws) * tensor.std()
        for name, tensor in first.items()
    }
    return {name: tensor + step / 10 * change[name] for name, tensor in first.items()}


def write(folder: Path, states: Mapping[str, dict[str, Tensor]] | None = None) -> str:
    """Write checkpoints (name -> weights), those of `NAMES` where left out.

    Returns:
        A glob over the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    default = {name: state_at(step) for name, step in zip(NAMES, STEPS, strict=True)}
    for name, state in (default if states is None else states).items():
        save_file(state, folder / f"{name}.safetensors")
    return str(folder / "*.safetensors")
