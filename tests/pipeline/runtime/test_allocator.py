"""Freed memory stays with the process, seen by the faults of a large tensor that comes and goes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.runtime.allocator import keep_freed_memory

_COUNT = """
import resource, sys
import torch
from pipeline.runtime.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(24 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
mapped = faults()
taken = keep_freed_memory()
# The first few find no place that is large enough, aligned as torch wants it.
print(taken, mapped, min(faults() for _ in range(20)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is asked")
def test_keep_freed_memory_spares_a_large_tensors_page_faults():
    run = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True)

    taken, mapped, kept = run.stdout.split()
    assert taken == "True"
    assert int(mapped) > 20 * max(int(kept), 1)


def test_keep_freed_memory_elsewhere_does_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False
