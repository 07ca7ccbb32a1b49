"""The two sides of the scan benchmarks: the scan job, and the bare loop that it is held against.

Invariant: both sides decode the same files with the same loader and threads, in batches of the
same size, and run the same weights in the same memory format; only the scan taps and stores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import jobs.scan
from benchmarks.timing import Lap
from jobs import engine
from pipeline.data.listing import list_images
from pipeline.data.loader import ImageLoader
from pipeline.data.preprocess import normalise
from pipeline.models.load import load_model
from pipeline.runtime.worker import limit_threads
from pipeline.stages.model_stage import prepare
from pipeline.stages.scan import ScanStage
from schemas.jobs.scan import ScanSpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, Resources

_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Workload:
    """What both sides do.

    Attributes:
        model: architecture and weights.
        data: the image list.
        batch_size: images a forward pass.
        threads: CPU threads that torch uses in each process.
        shard_size: of the scan; null: what the scan takes by itself.
    """

    model: ModelSpec
    data: DatasetSpec
    batch_size: int
    threads: int
    shard_size: int | None = None

    def scan_spec(self, out: Path, resources: Resources) -> ScanSpec:
        """The scan of this workload into ``out``."""
        return ScanSpec(
            model=self.model,
            data=self.data,
            out=str(out),
            batch_size=self.batch_size,
            shard_size=self.shard_size,
            resources=resources.model_copy(update={"threads": self.threads}),
        )


class GatedScanStage(ScanStage):
    """A scan stage whose workers wait for one another once they are set up."""

    def setup(self, device: str) -> None:
        """Set up, then wait at the gate beside the run's folder."""
        super().setup(device)
        pass_gate(Path(self.source.run).parent / "gate", parties=self.resources.workers or 1)


def pass_gate(gate: Path, *, parties: int) -> None:
    """Say that this process is ready, and wait until ``parties`` are.

    Raises:
        TimeoutError: the others did not come.
    """
    gate.mkdir(exist_ok=True)
    begun = time.monotonic()
    (gate / str(time.monotonic_ns())).write_text(str(time.process_time()), encoding="ascii")
    while len(list(gate.iterdir())) < parties:
        if time.monotonic() - begun > _PATIENCE_SECONDS:
            raise TimeoutError(f"fewer than {parties} processes were ready in time")
        time.sleep(0.01)


def gate_opened(gate: Path) -> tuple[float, float]:
    """When the last party was ready: `time.monotonic` seconds, and its processor seconds then.

    The clock is one for all processes of a machine.
    """
    last = max(gate.iterdir(), key=lambda entry: int(entry.name))
    return int(last.name) / 1e9, float(last.read_text(encoding="ascii"))


def scan_lap(work: Workload, resources: Resources) -> Lap:
    """`jobs.scan.run` into a new folder, from the end of its set-up to its return.

    Decoding, forward passes, taps, commits, merge and publishing count. What does not grow with
    the images does not: listing, loading and tracing the model, starting workers.
    """
    with TemporaryDirectory() as folder, _gated():
        run = Path(folder) / "run"
        manifest = engine.run(work.scan_spec(run, resources))
        ended, cpu = time.monotonic(), time.process_time()
        opened, cpu_before = gate_opened(run.parent / "gate")
    spent = cpu - cpu_before if resources.local else None
    return Lap(manifest.counts["images"], ended - opened, spent)


@contextmanager
def _gated() -> Iterator[None]:
    """Let the scan job build gated stages."""
    usual = jobs.scan.ScanStage
    jobs.scan.ScanStage = GatedScanStage  # type: ignore[misc]
    try:
        yield
    finally:
        jobs.scan.ScanStage = usual  # type: ignore[misc]


def bare_lap(work: Workload) -> Lap:
    """Decode ahead, normalise, forward, in this process; the scores are thrown away."""
    with TemporaryDirectory() as folder:
        gate = Path(folder) / "gate"
        images, ended, cpu = _bare_loop(work, gate, part=0, parts=1)
        opened, cpu_before = gate_opened(gate)
    return Lap(images, ended - opened, cpu - cpu_before)


def bare_lap_of_processes(work: Workload, processes: int) -> Lap:
    """The same in several processes, each with its share of the images, all begun together."""
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):
        gate = Path(folder) / "gate"
        gate.mkdir()
        running = [
            pool.submit(_bare_loop, work, gate, part=part, parts=processes)
            for part in range(processes)
        ]
        done = [each.result() for each in running]
        opened, _ = gate_opened(gate)
    return Lap(sum(images for images, _, _ in done), max(end for _, end, _ in done) - opened)


def _bare_loop(work: Workload, gate: Path, *, part: int, parts: int) -> tuple[int, float, float]:
    """One process's share; gives the images and, at the end, wall and processor seconds."""
    rows = list_images(work.data)
    loaded = load_model(work.model)
    limit_threads(work.threads)
    dtype = prepare(loaded.module, torch.device("cpu"), "fp32")
    # Whole batches a process, so that no side runs more padded ones than the other.
    share = -(-rows.num_rows // (parts * work.batch_size)) * work.batch_size
    shard = Shard(index=0, start=part * share, stop=min((part + 1) * share, rows.num_rows))
    with ImageLoader(
        lambda start, stop: rows.slice(start, stop - start),
        preprocess=loaded.preprocess,
        data=work.data,
        batch_size=work.batch_size,
        threads=Resources().decode_threads,
    ) as loader:
        pass_gate(gate, parties=parts)
        for batch in loader.batches(shard):
            with torch.inference_mode():
                frames = batch.frames.contiguous(memory_format=torch.channels_last)
                loaded.module(normalise(frames, loaded.preprocess, dtype))
        return shard.stop - shard.start, time.monotonic(), time.process_time()
