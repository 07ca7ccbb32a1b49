"""Fixtures for the tests of jobs: pictures, a tiny network's scan, and what stands in a run.

Invariant: every scan here uses one thread, so that the planned bits are the same on any machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

import tests.tiny_nets as nets
from schemas.jobs.scan import ScanSpec
from tests.tiny_pictures import draw

MakeSpec = Callable[..., ScanSpec]


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A job sets how many threads torch uses; the next test starts as this one did."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 41 files in two classes: 20 pictures, the same 20 again, and no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    draw(folder / "ants", 20)
    draw(folder / "bees", 20)
    (folder / "ants" / "007a.png").write_bytes(b"<html>not found</html>")
    return folder


@pytest.fixture(scope="session")
def spec_at(pictures: Path) -> MakeSpec:
    """Specs of a local scan of the pictures with `tiny_nets.small`, changed as asked for."""

    def make(
        out: str | Path,
        *,
        net: str = "small",
        nets_file: str | Path = nets.__file__,
        **changes: object,
    ) -> ScanSpec:
        data = {"uri": str(pictures)} | dict(changes.pop("data", {}))
        model = {"arch": f"{nets_file}:{net}", "weights": "random", "trust_code": True}
        fields = {
            "model": model | dict(changes.pop("model", {})),
            "data": data,
            "out": str(out),
            "preprocess": {"resize_px": None, "crop_px": 24},
            "top": 4,
            "batch_size": 4,
            "shard_size": 8,
            "resources": {"local": True, "threads": 1},
        }
        return ScanSpec.model_validate(fields | changes)

    return make


@pytest.fixture
def make_spec(spec_at: MakeSpec, tmp_path: Path) -> MakeSpec:
    """`spec_at` into one folder of the test's own."""
    return partial(spec_at, tmp_path / "run")


@pytest.fixture(scope="session")
def digests() -> Callable[[str | Path], dict[str, str]]:
    """sha256 of every file below a local folder, by its path there."""

    def of(folder: str | Path) -> dict[str, str]:
        root = Path(folder)
        return {
            file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(root.rglob("*"))
            if file.is_file()
        }

    return of
