"""A campaign of random faults: ``python -m tests.chaos --n 100 --seed 1`` (``make chaos``).

Each round does one job into a folder of its own and disturbs it at a random time: the driver, a
worker, the raylet or a node is killed, or two drivers work at once. A reader looks all the while;
at the end the tables must be those of an undisturbed run, byte for byte. ``--naive`` runs the same
rounds over a store that writes in place: the control that the campaign must fail.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pipeline.io import local
from tests.forks import ended, fork, in_child
from tests.small_world import (
    JOBS,
    digests,
    do,
    draw_pictures,
    spec_of,
    strangers,
    whole_or_absent,
)

LOCAL_FAULTS = ("driver", "two drivers")
RAY_FAULTS = ("worker", "raylet", "node")
PATIENCE_SECONDS = 180.0


@dataclass
class Tally:
    """What a campaign came to."""

    rounds: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    files: int = 0
    looks: int = 0
    half_seen: int = 0
    lost: int = 0
    different: int = 0
    left_over: int = 0
    shards: int = 0
    redone_at_most: int = 0

    @property
    def sound(self) -> bool:
        """Nothing was lost, different, seen by half, or left over."""
        return not (self.half_seen or self.lost or self.different or self.left_over)


class Campaign:
    """Rounds of one seed.

    Args:
        root: an empty folder.
        seed: decides jobs, faults and times.
        faults: which kinds to draw from.
        naive: over the control's store.
    """

    def __init__(self, root: Path, seed: int, faults: tuple[str, ...], *, naive: bool) -> None:
        self._root, self._random, self._faults, self._naive = (
            root,
            random.Random(seed),
            faults,
            naive,
        )
        self._pictures, self._clean = root / "pictures", root / "clean"
        self._looks, self._looking = root / "looks", root / "looking"
        self.tally = Tally()
        draw_pictures(self._pictures)
        self._seconds, self._wanted = {}, {}
        for job in JOBS:
            begun = time.monotonic()
            if in_child(lambda job=job: do(spec_of(job, self._clean, self._pictures))):
                raise RuntimeError(f"the undisturbed {job} failed")
            self._seconds[job] = time.monotonic() - begun
            self._wanted[job] = digests(self._clean, job)

    def round(self, number: int) -> None:
        """Draw a job and a fault, disturb, mend, compare."""
        job, fault = self._random.choice(JOBS), self._random.choice(self._faults)
        run = self._root / f"{number:04d}"
        run.mkdir()
        if job != "scan":
            shutil.copytree(self._clean / "scan", run / "scan")
        reader = fork(lambda: self._watch(run, job))
        while not self._looking.exists():
            time.sleep(0.002)
        # Whatever is drawn after this may depend on how the machine was timed; the round does not.
        own = random.Random(self._random.random())
        self.tally.rounds[fault] += 1
        if fault in RAY_FAULTS:
            self._disturb_ray(job, run, fault, own)
        else:
            self._disturb_local(job, run, fault, own)
        lost = in_child(self._work(job, run)) != 0
        self._looking.unlink()
        self.tally.half_seen += ended(reader) != 0
        self.tally.looks += int(self._looks.read_text())
        self._compare(job, run, lost=lost)
        shutil.rmtree(run)

    def _compare(self, job: str, run: Path, *, lost: bool) -> None:
        self.tally.lost += lost
        found = {} if lost else digests(run, job)
        wanted = self._wanted[job]
        self.tally.files += len(wanted)
        if not lost:
            self.tally.different += sum(found.get(name) != sha for name, sha in wanted.items())
            self.tally.left_over += len(strangers(run, job)) + len(found.keys() - wanted.keys())
            manifest = json.loads((run / job / "manifest.json").read_text())
            self.tally.shards += manifest["counts"]["shards"]

    def _work(self, job: str, run: Path) -> Callable[[], None]:
        def work() -> None:
            if self._naive:
                local.put_once = _put_in_place
            do(spec_of(job, run, self._pictures))

        return work

    def _disturb_local(self, job: str, run: Path, fault: str, own: random.Random) -> None:
        for _ in range(own.randint(1, 3)):
            drivers = [fork(self._work(job, run)) for _ in range(1 + (fault == "two drivers"))]
            time.sleep(own.uniform(0, self._seconds[job]))
            for driver in drivers[: own.randint(1, len(drivers))]:
                os.kill(driver, signal.SIGKILL)
            codes = [ended(driver) for driver in drivers]
            self._book(fault, codes.count(-signal.SIGKILL), job, run)

    def _disturb_ray(self, job: str, run: Path, fault: str, own: random.Random) -> None:
        """On Ray from a fresh process, since a cluster and a fork do not go together."""
        lose = str(own.uniform(2, 6)) if fault == "node" else ""
        command = [sys.executable, "-m", "tests.chaos_driver", job, str(run), str(self._pictures)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        driver = subprocess.Popen([*command, lose], **quiet)
        begun = time.monotonic()
        if fault == "node":
            self._book(fault, 1, job, run)
        else:
            mark = "ray::PoolWorker" if fault == "worker" else "/raylet/raylet"
            for _ in range(own.randint(1, 2) if fault == "worker" else 1):
                victims: list[int] = []
                while not victims and driver.poll() is None:
                    victims = [pid for pid in _descendants(driver.pid) if mark in _command(pid)]
                    time.sleep(0.05)
                time.sleep(own.uniform(0, 2))
                if driver.poll() is None and victims:
                    with suppress(ProcessLookupError):
                        os.kill(own.choice(victims), signal.SIGKILL)
                        self._book(fault, 1, job, run)
        family = _descendants(driver.pid)
        while driver.poll() is None and time.monotonic() - begun < PATIENCE_SECONDS:
            family = _descendants(driver.pid) or family
            time.sleep(0.2)
        # Without its raylet a driver may wait for good: then it is the operator who ends it.
        for pid in (driver.pid, *family):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        driver.wait()

    def _book(self, fault: str, kills: int, job: str, run: Path) -> None:
        self.tally.kills[fault] += kills
        # A kill takes at most the shards that were in work: one a local driver, one a worker.
        if kills and not (run / job / "manifest.json").exists():
            self.tally.redone_at_most += kills

    def _watch(self, run: Path, job: str) -> None:
        """A reader until its mark goes: fails where a job is neither whole nor absent."""
        self._looking.touch()
        looks = 0
        try:
            while self._looking.exists():
                with suppress(FileNotFoundError):
                    if not whole_or_absent(run, job, self._wanted[job]):
                        raise AssertionError(f"{run}: other bytes are published")
                looks += 1
                time.sleep(0.02)
        finally:
            self._looks.write_text(str(looks))


def _put_in_place(path: Path, data: bytes) -> bytes:
    """What the store would be without its care: look, then write under the final name."""
    if path.exists():
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(0.002)
        file.write(data[len(data) // 2 :])
    return data


def _descendants(pid: int) -> list[int]:
    """Of a process, by the table of parents."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
    found = [pid]
    for parent in found:
        found += [child for child, own in parents.items() if own == parent]
    return found[1:]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def run_campaign(root: Path, n: int, seed: int, faults: tuple[str, ...], *, naive: bool) -> Tally:
    """``n`` rounds below ``root``; prints a line for each round that is not sound."""
    # SIGKILL loses nothing that was written, so waiting for the disk would show nothing here.
    os.fsync = lambda _: None
    torch.set_num_threads(1)
    campaign = Campaign(root, seed, faults, naive=naive)
    for number in range(n):
        campaign.round(number)
    return campaign.tally


def main() -> int:
    """Run a campaign and print its table; 0 where it is sound, or, naive, where it is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--n", type=int, default=100, help="rounds (100)")
    parser.add_argument("--seed", type=int, default=0, help="of jobs, faults and times (0)")
    parser.add_argument("--local", action="store_true", help="without the faults that need Ray")
    parser.add_argument("--naive", action="store_true", help="the control; local faults alone")
    given = parser.parse_args()
    faults = LOCAL_FAULTS if given.local or given.naive else (*LOCAL_FAULTS, *RAY_FAULTS)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = run_campaign(Path(folder), given.n, given.seed, faults, naive=given.naive)
    for name, value in vars(tally).items():
        shown = dict(sorted(value.items())) if isinstance(value, Counter) else value
        print(f"{name:>14}  {shown}")
    print(f"{'seconds':>14}  {time.monotonic() - begun:.0f}")
    return int(tally.sound == given.naive)


if __name__ == "__main__":
    raise SystemExit(main())
