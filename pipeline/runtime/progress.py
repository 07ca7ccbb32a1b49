"""Progress of long work: a bar on a terminal, JSON log lines elsewhere, both to stderr.

Progress only tells; nothing that a job computes depends on it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

LOG_EVERY_SECONDS = 10.0


class Progress(Protocol):
    """What a runtime tells while it works; used as a context manager by the job."""

    def advance(self, *, items: int = 0, rejects: int = 0, retries: int = 0) -> None:
        """Add what was done since the last call; without arguments, a sign of life."""

    def note(self, message: str) -> None:
        """Tell a person something that they may want to act on."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the end, or that the work stopped before it."""


class Meter:
    """Counts and speed, for both ways to show them.

    Args:
        job: the job's name.
        items: what is counted, in the plural: images, units.
        total: of the whole plan.
        done: by earlier runs; they do not count for the speed.
        clock: seconds, monotonic.
    """

    def __init__(
        self, job: str, items: str, total: int, done: int, clock: Callable[[], float]
    ) -> None:
        self.job = job
        self.items = items
        self.total = total
        self.done = done
        self.rejects = 0
        self.retries = 0
        self._before = done
        self._clock = clock
        self._begun = clock()

    def add(self, items: int, rejects: int, retries: int) -> None:
        """Count what was done."""
        self.done += items
        self.rejects += rejects
        self.retries += retries

    def speed(self) -> float:
        """Items a second since the start of this run; 0 before the first."""
        elapsed = self._clock() - self._begun
        return (self.done - self._before) / elapsed if elapsed > 0 else 0.0

    def seconds_left(self) -> float | None:
        """At the speed so far; None while there is none."""
        speed = self.speed()
        return (self.total - self.done) / speed if speed > 0 else None


class LogProgress:
    """One JSON object a line: at the start, every ten seconds or so, and at the end."""

    def __init__(self, meter: Meter, stream: TextIO, clock: Callable[[], float]) -> None:
        self._meter = meter
        self._stream = stream
        self._clock = clock
        self._last = clock()

    def advance(self, *, items: int = 0, rejects: int = 0, retries: int = 0) -> None:
        """Count, and write a line where the last is old enough."""
        self._meter.add(items, rejects, retries)
        if self._clock() - self._last >= LOG_EVERY_SECONDS:
            self._line("progress")

    def note(self, message: str) -> None:
        """Write the message as a line of its own."""
        self._line("note", message=message)

    def __enter__(self) -> Self:
        """Write the first line."""
        self._line("start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the last line."""
        self._line("end" if kind is None else "stopped")

    def _line(self, event: str, **more: str) -> None:
        meter = self._meter
        left = meter.seconds_left()
        record = {
            "event": event,
            "job": meter.job,
            "done": meter.done,
            "total": meter.total,
            "rejects": meter.rejects,
            "retries": meter.retries,
            f"{meter.items}_per_s": round(meter.speed(), 2),
            "seconds_left": None if left is None else round(left),
            **more,
        }
        self._stream.write(json.dumps(record) + "\n")
        self._stream.flush()
        if event != "note":
            self._last = self._clock()


class BarProgress:
    """A bar with the speed, time left and rejects."""

    def __init__(self, meter: Meter, console: Console) -> None:
        self._meter = meter
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
        )
        self._task = self._bar.add_task(
            meter.job, total=meter.total, completed=meter.done, state=""
        )

    def advance(self, *, items: int = 0, rejects: int = 0, retries: int = 0) -> None:
        """Count and redraw."""
        self._meter.add(items, rejects, retries)
        self._bar.update(self._task, completed=self._meter.done, state=self._state())

    def note(self, message: str) -> None:
        """Print the message above the bar."""
        self._bar.console.print(message, markup=False, highlight=False)

    def __enter__(self) -> Self:
        """Draw the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Draw the bar a last time and leave it standing."""
        self._bar.stop()

    def _state(self) -> str:
        meter = self._meter
        left = meter.seconds_left()
        parts = [f"{meter.speed():.1f} {meter.items}/s"]
        if left is not None:
            minutes, seconds = divmod(round(left), 60)
            parts.append(f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left")
        parts.append(f"{meter.rejects} rejects")
        if meter.retries:
            parts.append(f"{meter.retries} retries")
        return "  ".join(parts)


def make_progress(
    job: str,
    items: str,
    *,
    total: int,
    done: int,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """A bar where the stream is a terminal, else JSON log lines.

    Args:
        job: the job's name.
        items: what is counted, in the plural: images, units.
        total: of the whole plan.
        done: of the shards that earlier runs committed.
        stream: where to write; null: stderr.
        clock: seconds, monotonic.
    """
    target = stream or sys.stderr
    meter = Meter(job, items, total, done, clock)
    if target.isatty():
        return BarProgress(meter, Console(file=target))
    return LogProgress(meter, target, clock)
