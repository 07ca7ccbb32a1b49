"""Run the benchmarks: ``python -m benchmarks [name ...] [--quick]``.

Invariant: a comparison is printed as soon as it is measured, and the figures are written when the
benchmark is done.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.options import Options
from benchmarks.timing import Comparison, table
from schemas.specs import DatasetSpec, ModelSpec

NAMES = (
    "scan", "crp", "memory", "project", "gallery", "occlude", "saliency", "class_models",
    "invariance",
)  # fmt: skip
RESULTS = Path(__file__).with_name("results")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> int:
    """Run what the command line names, by default everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="fewer images and pairs")
    parser.add_argument("--data", default=str(SHARED / "photos.csv"), help="photographs, labelled")
    parser.add_argument(
        "--weights",
        default=str(SHARED / "weights" / "squeezenet1_1.safetensors"),
        help="of SqueezeNet 1.1: a file, or DEFAULT to download torchvision's",
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if not Path(given.data).exists():
        parser.error(f"no photographs at {given.data}; name a folder or manifest with --data")
    options = Options(
        data=DatasetSpec(uri=given.data),
        squeezenet=ModelSpec(arch="squeezenet1_1", weights=given.weights),
        quick=given.quick,
    )
    for name in given.names or NAMES:
        print(f"== {name}", flush=True)
        # One at a time: a benchmark's libraries should not weigh on another's run.
        found: list[Comparison] = []
        for comparison in importlib.import_module(f"benchmarks.bench_{name}").run(options):
            print(table([comparison]), flush=True)
            found.append(comparison)
        _write(name, found, quick=options.quick)
    return 0


def _write(name: str, comparisons: list[Comparison], *, quick: bool) -> None:
    RESULTS.mkdir(exist_ok=True)
    record = {
        "benchmark": name,
        "quick": quick,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {one: version(one) for one in ("unitscope", "torch", "torchvision", "pillow")},
        "comparisons": [asdict(one) for one in comparisons],
    }
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
