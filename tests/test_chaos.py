"""A short campaign of random kills holds; over a store that writes in place it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def campaign(*arguments: str) -> tuple[int, dict[str, str]]:
    """Exit code and table of a campaign without Ray."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--local", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def test_random_kills_lose_nothing_and_change_no_byte():
    code, table = campaign("--n", "10", "--seed", "3")

    assert code == 0
    faults = {name: table[name] for name in ("half_seen", "lost", "different", "left_over")}
    assert faults == dict.fromkeys(faults, "0")
    assert int(table["looks"]) > 50
    assert "'driver'" in table["kills"]
    assert "'two drivers'" in table["kills"]


def test_campaign_catches_a_store_that_writes_in_place():
    code, table = campaign("--n", "30", "--seed", "1", "--naive")

    assert code == 0, table
    caught = [int(table[name]) for name in ("half_seen", "lost", "different", "left_over")]
    assert sum(caught) > 0
