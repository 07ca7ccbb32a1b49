from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.analysis.class_shares import ClassShares
from pipeline.report.sections.units.classes import ClassBar, ClassReader, describe
from pipeline.store import open_run
from tests import made_up_run


def _of_fours(image_id: int) -> tuple[str, str | None]:
    return f"photos/{image_id}.png", f"kind {image_id % 4}"


def test_read_gives_the_classes_of_every_unit_s_top_patches(tmp_path: Path):
    """Unit 0 has the images 0 to 8: kind 0 three times, the others twice, of 10 images each."""
    url = made_up_run.scan(tmp_path / "run", {"conv1": 7}, names=_of_fours)

    found = ClassReader(open_run(url)).read("conv1")

    assert found.keys() == {0, 1, 2, 3, 4, 6}, "the dead one has no patch"
    bars = [(bar.name, bar.patches, bar.percent) for bar in found[0].bars]
    assert bars == [("kind 0", "3", 33.33), *((f"kind {n}", "2", 22.22) for n in (1, 2, 3))]
    assert found[0].words.startswith(
        "33.3% of its 9 top patches are of class kind 0, 1.33 times the class's share of the images"
    )
    assert found[0].selectivity == pytest.approx(0.0122, abs=1e-3)


def test_read_calls_a_class_without_a_name_by_its_number(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 1}, names=lambda each: (f"{each}.png", None))

    bars = ClassReader(open_run(url)).read("conv1")[0].bars

    assert [bar.name for bar in bars[:2]] == ["class 0", "class 1"]
    assert (bars[-1].name, bars[-1].patches) == ("3 other classes", "3")


@pytest.mark.parametrize(("selectivity", "said"), [(None, False), (0.4, True)])
def test_describe_says_the_selectivity_only_where_it_is_defined(
    selectivity: float | None, said: bool
):
    shares = ClassShares((("cat", 9),), 9, 1.0, 2.0, selectivity)

    found = describe(shares, 0.125)

    assert found.bars == (ClassBar("cat", "9", 100.0),)
    assert ("Selectivity 0.4, from 0" in found.words) == said
    assert ("at random have 0.125 on average" in found.words) == said
    assert found.selectivity == (0.4 if said else -1.0)
