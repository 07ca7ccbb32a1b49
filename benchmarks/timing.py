"""Two sides measured in turn on a noisy machine, and what their ratio is worth.

Invariant: a figure always carries its spread; both sides of a ratio come from one run, pair by
pair, so that a neighbour who slows one side mostly slows the other as well.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_REPORT_PEAK = """
import pathlib, runpy, sys
report, module, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
finally:
    lines = pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    pathlib.Path(report).write_text(peak.split()[1], encoding="utf-8")
"""


@dataclass(frozen=True)
class Lap:
    """One side, measured once.

    Attributes:
        images: how many images were done.
        seconds: wall time.
        cpu_seconds: processor time of this process; None where other processes did the work.
    """

    images: int
    seconds: float
    cpu_seconds: float | None = None


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest of some measurements."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value or more."""
        return cls(min(values), statistics.median(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """Two sides measured in turn.

    Attributes:
        what: the subject, as the table shows it.
        unit: of the values, for example ``images/s``.
        first_name: what the first side is, with its settings.
        second_name: likewise.
        first: the first side's values, one a pair.
        second: the second side's, of the same length.
        target: what the ratio should be, in words; empty where nothing is asked.
    """

    what: str
    unit: str
    first_name: str
    second_name: str
    first: tuple[float, ...]
    second: tuple[float, ...]
    target: str = ""
    first_spread: Spread = field(init=False)
    second_spread: Spread = field(init=False)
    ratio: Spread = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "first_spread", Spread.of(self.first))
        object.__setattr__(self, "second_spread", Spread.of(self.second))
        pairs = zip(self.first, self.second, strict=True)
        object.__setattr__(self, "ratio", Spread.of([one / other for one, other in pairs]))


def alternate(
    first: Callable[[], Lap], second: Callable[[], Lap], *, pairs: int
) -> tuple[list[Lap], list[Lap]]:
    """Measure first, second, first, second ...

    Args:
        first: does its work once and says what it took.
        second: likewise.
        pairs: how often, 1 or more.

    Returns:
        The laps of each side, in order.
    """
    firsts, seconds = [], []
    for _ in range(pairs):
        firsts.append(first())
        seconds.append(second())
    return firsts, seconds


def compare_rates(
    what: str,
    sides: tuple[str, str],
    laps: tuple[Sequence[Lap], Sequence[Lap]],
    *,
    target: str = "",
    counted: str = "images",
) -> list[Comparison]:
    """Images a second of both sides and, where both know it, images a processor second.

    The second is the steadier figure on a machine that others use too.

    Args:
        what: the subject.
        sides: names of the sides.
        laps: what `alternate` gave.
        target: of the ratio first / second of the images a second.
        counted: what stands in place of images, in the plural.
    """
    first, second = ([lap.images / lap.seconds for lap in side] for side in laps)
    found = [Comparison(what, f"{counted}/s", *sides, tuple(first), tuple(second), target)]
    costs = [[lap.cpu_seconds for lap in side if lap.cpu_seconds] for side in laps]
    if all(len(cost) == len(side) for cost, side in zip(costs, laps, strict=True)):
        rates = (
            tuple(lap.images / cost for lap, cost in zip(side, paid, strict=True))
            for side, paid in zip(laps, costs, strict=True)
        )
        found.append(Comparison(what, f"{counted}/cpu-s", *sides, *rates))
    return found


@contextmanager
def stopwatch(images: int, laps: list[Lap]) -> Iterator[None]:
    """Time the body in this process and append its lap."""
    wall, cpu = time.monotonic(), time.process_time()
    yield
    laps.append(Lap(images, time.monotonic() - wall, time.process_time() - cpu))


def peak_rss_bytes(module: str, *arguments: str) -> int:
    """Largest resident memory of ``python -m module arguments`` in a fresh process (Linux).

    The child reads its own high-water mark: what ``wait4`` tells of a child is never less than
    what its parent held when it started it.

    Raises:
        CalledProcessError: the child failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "peak_kib"
        command = [sys.executable, "-c", _REPORT_PEAK, str(report), module, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return int(report.read_text(encoding="utf-8")) * 1024


def table(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as text: three lines each, low / median / high."""
    lines = []
    for one in comparisons:
        aim = f"   ({one.target})" if one.target else ""
        ratio = f"ratio {_three(one.ratio, 3)} over {len(one.first)} pairs{aim}"
        lines += [
            f"{one.what} [{one.unit}]: {ratio}",
            f"    {_three(one.first_spread, 1):>24}  {one.first_name}",
            f"    {_three(one.second_spread, 1):>24}  {one.second_name}",
        ]
    return "\n".join(lines)


def _three(spread: Spread, digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in (spread.low, spread.median, spread.high))
