from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.timing import (
    Comparison,
    Lap,
    Spread,
    alternate,
    compare_rates,
    peak_rss_bytes,
    stopwatch,
    table,
)

MIB = 2**20


def _side(name: str, calls: list[str], seconds: list[float]) -> Callable[[], Lap]:
    left = iter(seconds)

    def run() -> Lap:
        calls.append(name)
        return Lap(10, next(left))

    return run


def test_alternate_goes_pair_by_pair_and_keeps_each_side_in_order():
    calls: list[str] = []

    first, second = alternate(_side("a", calls, [1, 2, 3]), _side("b", calls, [4, 5, 6]), pairs=3)

    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert [lap.seconds for lap in first] == [1, 2, 3]
    assert [lap.seconds for lap in second] == [4, 5, 6]


@pytest.mark.parametrize(
    ("values", "low", "median", "high"),
    [([7.0], 7, 7, 7), ([9.0, 1.0, 4.0], 1, 4, 9), ([8.0, 2.0], 2, 5, 8)],
)
def test_spread_of_values_is_smallest_middle_and_largest(
    values: list[float], low: float, median: float, high: float
):
    assert Spread.of(values) == Spread(low, median, high)


def test_comparison_ratio_is_taken_pair_by_pair_not_of_the_medians():
    # A neighbour halves both sides of the second pair: the ratio does not move.
    one = Comparison("x", "images/s", "a", "b", (90.0, 45.0, 95.0), (100.0, 50.0, 50.0))

    assert one.ratio == Spread(0.9, 0.9, 1.9)
    assert one.first_spread.median / one.second_spread.median == pytest.approx(1.8)


def test_comparison_with_sides_of_two_lengths_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        Comparison("x", "images/s", "a", "b", (1.0, 2.0), (1.0,))


def test_rates_with_processor_time_on_both_sides_give_both_units():
    laps = ([Lap(100, 10.0, 4.0), Lap(100, 20.0, 5.0)], [Lap(60, 5.0, 2.0), Lap(60, 6.0, 3.0)])

    wall, processor = compare_rates("x", ("a", "b"), laps, target="at least 1")

    assert (wall.unit, wall.first, wall.second) == ("images/s", (10, 5), (12, 10))
    assert (processor.unit, processor.first, processor.second) == (
        "images/cpu-s",
        (25, 20),
        (30, 20),
    )
    assert (wall.target, processor.target) == ("at least 1", "")


def test_rates_without_processor_time_on_one_side_give_wall_time_only():
    found = compare_rates("x", ("a", "b"), ([Lap(8, 2.0)], [Lap(8, 4.0, 1.0)]))

    assert [one.unit for one in found] == ["images/s"]
    assert found[0].ratio.median == 2


def test_rates_of_other_things_than_images_say_so():
    laps = ([Lap(8, 2.0, 1.0)], [Lap(8, 4.0, 1.0)])

    found = compare_rates("x", ("a", "b"), laps, counted="steps")

    assert [one.unit for one in found] == ["steps/s", "steps/cpu-s"]


def test_comparison_as_a_dict_carries_what_was_worked_out():
    record = asdict(Comparison("x", "images/s", "a", "b", (3.0,), (2.0,)))

    assert record["ratio"] == {"low": 1.5, "median": 1.5, "high": 1.5}


def test_table_shows_subject_ratio_sides_and_target():
    lines = table(
        [Comparison("net", "images/s", "ours", "theirs", (90.0, 80.0), (100.0, 100.0), "0.9")]
    ).splitlines()

    assert lines[0] == "net [images/s]: ratio 0.800 / 0.850 / 0.900 over 2 pairs   (0.9)"
    assert [part.strip() for part in lines[1].rsplit("  ", 1)] == ["80.0 / 85.0 / 90.0", "ours"]
    assert [part.strip() for part in lines[2].rsplit("  ", 1)] == [
        "100.0 / 100.0 / 100.0",
        "theirs",
    ]


def test_stopwatch_times_its_body_in_wall_and_processor_time():
    laps: list[Lap] = []

    with stopwatch(5, laps):
        sum(range(200_000))

    (lap,) = laps
    assert lap.images == 5
    assert lap.seconds > 0
    assert lap.cpu_seconds > 0


@pytest.fixture
def hungry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that holds as many MiB as its argument says for a moment, then lets go."""
    (tmp_path / "hungry.py").write_text(
        "import sys\nheld = bytearray(int(sys.argv[1]) * 2**20)\n"
        "held[::4096] = b'x' * len(held[::4096])\ndel held\nsys.exit(int(sys.argv[2]))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "hungry"


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")


@needs_proc
def test_peak_of_a_child_counts_what_it_gave_back(hungry: str):
    small = peak_rss_bytes(hungry, "1", "0")
    large = peak_rss_bytes(hungry, "101", "0")

    assert large - small == pytest.approx(100 * MIB, abs=8 * MIB)


@needs_proc
def test_peak_of_a_child_leaves_out_what_its_parent_holds(hungry: str):
    before = peak_rss_bytes(hungry, "1", "0")
    held = bytearray(128 * MIB)
    held[::4096] = b"x" * len(held[::4096])

    assert peak_rss_bytes(hungry, "1", "0") < before + 32 * MIB
    assert len(held) == 128 * MIB


@needs_proc
def test_peak_of_a_child_that_fails_raises(hungry: str):
    with pytest.raises(subprocess.CalledProcessError):
        peak_rss_bytes(hungry, "1", "3")
