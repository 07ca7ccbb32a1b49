"""A stage that counts, and that dies, fails or dawdles where a test has put a flag file."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pytest
from ray import cloudpickle

from pipeline.runtime.ledger import Patience
from pipeline.runtime.worker import RunSummary
from pipeline.stages.contract import StageOutput
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from schemas.errors import LayerError, ModelError
from schemas.manifest import Shard
from schemas.specs import Resources
from schemas.tables import Column, Table

SQUARES = Table(
    job="fake",
    name="squares",
    columns=(
        Column("image_id", "int64", "the image"),
        Column("square", "int64", "its square"),
    ),
    key=("image_id",),
    sort=("image_id",),
)


class FakeStage:
    """Squares image ids.

    A file in ``flags`` named ``<what>-<image id>`` makes that image ``kill`` the process each
    time, ``kill_once``, ``fail`` with a ValueError, or raise a ``layer`` error; ``setup_fails``,
    ``setup_refuses`` and ``setup_kills`` do it before the first image; with ``needs_all`` no image
    may be missing. Nothing hangs on who is quicker: with ``together-<n>`` no shard begins before n
    processes have one each; at a ``hold-<image id>`` the process waits until that file goes, and
    with ``hold`` each one waits at its next image. What happened is told by files of the same
    folder: ``pid-<pid>``, ``working-<pid>``, ``reached-<image id>`` and ``held-<pid>``.
    """

    name = "fake"
    items = "images"

    def __init__(self, flags: Path) -> None:
        self.resources = Resources()
        self.flags = flags
        self.ready = False

    @property
    def can_exclude(self) -> bool:
        return not (self.flags / "needs_all").exists()

    def setup(self, device: str) -> None:
        assert device == "cpu"
        if (self.flags / "setup_fails").exists():
            raise ValueError("the weights are torn")
        if (self.flags / "setup_refuses").exists():
            raise ModelError("no such weights")
        if (self.flags / "setup_kills").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        (self.flags / f"pid-{os.getpid()}").touch()
        self.ready = True

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        assert self.ready
        self._wait_for_the_others()
        with (self.flags / "order").open("a") as order:
            order.write(f"{shard.index}:{upcoming.index if upcoming else None}\n")
        images = [i for i in range(shard.start, shard.stop) if i not in shard.excluded]
        for image in images:
            self._meet(image)
        rows = {"image_id": images, "square": [image * image for image in images]}
        return StageOutput(
            tables={"squares": pa.table(rows, schema=SQUARES.schema)},
            counts={"images": len(images), "rejects": len(shard.excluded)},
        )

    def _wait_for_the_others(self) -> None:
        (self.flags / f"working-{os.getpid()}").touch()
        numbers = [int(flag.name.rpartition("-")[2]) for flag in self.flags.glob("together-*")]
        wait_until(lambda: len(list(self.flags.glob("working-*"))) >= max(numbers, default=0))

    def _wait_at(self, hold: Path) -> None:
        if hold.exists():
            (self.flags / f"held-{os.getpid()}").touch()
            wait_until(lambda: not hold.exists())

    def _meet(self, image: int) -> None:
        (self.flags / f"reached-{image}").touch()
        self._wait_at(self.flags / "hold")
        self._wait_at(self.flags / f"hold-{image}")
        if (self.flags / f"fail-{image}").exists():
            raise ValueError(f"image {image} is odd")
        if (self.flags / f"layer-{image}").exists():
            raise LayerError(f"image {image} has no layer")
        once = self.flags / f"kill_once-{image}"
        if once.exists():
            once.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.flags / f"kill-{image}").exists():
            os.kill(os.getpid(), signal.SIGKILL)


class Told:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.images = self.rejects = self.retries = 0
        self.notes: list[str] = []

    def advance(self, *, items: int = 0, rejects: int = 0, retries: int = 0) -> None:
        self.images += items
        self.rejects += rejects
        self.retries += retries

    def note(self, message: str) -> None:
        self.notes.append(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Bench:
    """One run folder with its flags, and what stands in it."""

    contracts = {"squares": SQUARES}  # noqa: RUF012 - read only

    def __init__(self, folder: Path) -> None:
        self.flags = folder / "flags"
        self.flags.mkdir(parents=True)
        self.folder = JobFolder(str(folder / "run"), "fake")
        self.store = JobStore(self.folder)
        self.told = Told()

    def flag(self, *names: str) -> None:
        for name in names:
            (self.flags / name).touch()

    def unflag(self, *names: str) -> None:
        for name in names:
            (self.flags / name).unlink()

    def stage(self) -> FakeStage:
        return FakeStage(self.flags)

    def run(
        self,
        runner: Callable[..., RunSummary],
        shards: Sequence[Shard],
        *,
        workers: int | None = None,
        threads: int = 1,
        **more: object,
    ) -> RunSummary:
        return runner(
            self.stage(),
            self.folder,
            self.contracts,
            shards,
            resources=Resources(workers=workers),
            threads=threads,
            progress=self.told,
            **more,
        )

    def content(self) -> dict[int, str]:
        """sha256 of each shard's part."""
        return {
            index: marker.content["squares"].sha256
            for index, marker in self.store.markers().items()
        }

    def rows(self) -> list[int]:
        parts = [
            self.store.read_part(marker, "squares", SQUARES)
            for _, marker in sorted(self.store.markers().items())
        ]
        return pa.concat_tables(parts)["image_id"].to_pylist()

    def processed(self) -> list[str]:
        """``shard:upcoming`` of each call of process, in order."""
        order = self.flags / "order"
        return order.read_text().split() if order.exists() else []

    def pids(self, told: str = "pid") -> set[int]:
        """The processes that ever set a stage up, or told something else of themselves."""
        return {int(file.name.rpartition("-")[2]) for file in self.flags.glob(f"{told}-*")}


Cut = Callable[[int, int], list[Shard]]


def cut_images(images: int, size: int) -> list[Shard]:
    return [
        Shard(index=i, start=start, stop=min(start + size, images))
        for i, start in enumerate(range(0, images, size))
    ]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def descendants() -> set[int]:
    """Every process below this one."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, fresh = set(), {os.getpid()}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh}
        found |= fresh
    return found


def wait_until(true: Callable[[], bool], *, seconds: float = 300.0) -> None:
    """Wait for what is bound to happen; the limit is for a machine that is busy with much else."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("what the test waits for did not happen")
        time.sleep(0.02)


class Processes:
    """What tests ask of the processes of this machine."""

    alive = staticmethod(alive)
    descendants = staticmethod(descendants)
    wait_until = staticmethod(wait_until)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench")


@pytest.fixture
def other_bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "other")


@pytest.fixture(scope="session")
def cut() -> Cut:
    return cut_images


@pytest.fixture(scope="session")
def processes() -> type[Processes]:
    return Processes


@pytest.fixture(scope="session")
def impatience() -> Patience:
    """Blame at the first death; the time for an answer stays, for a start may take its time."""
    return Patience(suspect_after=1, convict_after=1, failed_starts=1)


@pytest.fixture(scope="session")
def by_value() -> Iterator[None]:
    """Workers cannot import a conftest, so Ray carries this module's classes by value."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)
