from __future__ import annotations

import sys
from pathlib import Path

import pytest

from examples.ask_a_run import dead_units, main, one_class_units, popular_images
from tests import made_up_run

LAYERS = {"early": 7, "late": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Unit 5 of ``early`` is dead; every picture with the same name is of one class."""

    def names(image_id: int) -> tuple[str, str]:
        return f"photos/image{image_id}.png", "ant" if image_id < 9 else "bee"

    return made_up_run.scan(tmp_path_factory.mktemp("asked") / "run", LAYERS, names=names)


def test_dead_units_are_counted_by_layer_in_the_order_of_the_network(run: str):
    assert dead_units(run).to_dict("list") == {
        "layer": ["early", "late"], "units": [7, 3], "dead": [1, 0],
    }  # fmt: skip


def test_one_class_units_are_those_whose_patches_agree(run: str):
    found = one_class_units(run, "late")

    # Unit u has the images 9 u to 9 u + 8, and only the first nine are ants.
    assert dict(zip(found["unit"], found["class_name"], strict=True)) == {
        0: "ant", 1: "bee", 2: "bee",
    }  # fmt: skip
    assert found["max"].is_monotonic_decreasing


def test_popular_images_count_the_units_that_look_for_them(run: str):
    found = popular_images(run)

    assert found.max() == found.iloc[0]
    assert found.sum() == 9 * 8 + 2


def test_main_answers_for_the_run_that_is_named(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["ask_a_run.py", run])

    main()

    said = capsys.readouterr().out
    assert "units of late that one class owns" in said
    assert str(Path(run)) not in said
