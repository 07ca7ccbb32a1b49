from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.report.sections.evolve.figure import draw_evolution
from pipeline.report.sections.evolve.history import EvolutionReader, UnitHistory
from pipeline.store import open_run
from tests import evolving, made_up_run

JUMP, SIDE = (166, 61, 8), 146


def _units(tmp_path: Path) -> list[UnitHistory]:
    run = made_up_run.scan(tmp_path / "run", {"conv1": 6})
    evolving.publish(run, {"conv1": 6})
    return EvolutionReader(open_run(run)).units("conv1")


def _jumps(units: list[UnitHistory]) -> int:
    pixels = np.asarray(draw_evolution("conv1", ("e1", "e2", "e3"), units))
    return int((pixels == JUMP).all(axis=2).sum())


def test_figure_has_a_bar_for_each_jump(tmp_path: Path):
    units = _units(tmp_path)

    assert _jumps([units[0], units[2]]) == 0
    assert _jumps(units) == 3 * SIDE
    assert _jumps([units[1], units[1]]) == 6 * SIDE


def test_figure_grows_with_units_and_checkpoints(tmp_path: Path):
    units = _units(tmp_path)
    names = tuple(f"e{n}" for n in range(20))
    one, two = (draw_evolution("conv1", ("e1", "e2", "e3"), units[:n]) for n in (1, 2))

    assert one.width == two.width < draw_evolution("conv1", names, units).width
    assert two.height > one.height + SIDE


def test_figure_of_a_dead_unit_says_so(tmp_path: Path):
    units = _units(tmp_path)

    dead, living = (
        np.asarray(draw_evolution("conv1", ("e1", "e2", "e3"), [unit]))
        for unit in (units[2], units[3])
    )
    blue = [(picture[:, :, 2] == 255) & (picture[:, :, 0] < 200) for picture in (dead, living)]
    assert dead.shape == living.shape
    assert 0 < blue[0].sum() < blue[1].sum()
