"""The frame of every job: plan, run the shards, merge, publish.

A job's own module, ``jobs/<name>.py``, says what to work on: ``plan(spec, scan)`` gives a `Work`,
``merge(work, parts)`` and ``summary(spec, manifest)`` may replace what stands here. One that builds
on other jobs gives ``needs`` too, with the arguments of ``plan``: an iterator over their specs.
Each is finished before the next is asked for, and all of them before ``plan`` is called. A job that
needs no shards gives ``run(spec)`` instead, and ``as_text`` of what that returns.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import torch

from jobs.exits import say
from jobs.published_scan import open_published_scan
from pipeline.data.shards import default_shard_size, shard_plan
from pipeline.runtime.progress import make_progress
from pipeline.runtime.run import default_threads, run_shards
from pipeline.runtime.worker import RunSummary
from pipeline.stages.contract import Stage
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from pipeline.store.parts import Parts
from pipeline.store.provenance import collect
from schemas.errors import SpecError, StoreError
from schemas.job_info import JobInfo
from schemas.jobs import JOBS
from schemas.manifest import SCHEMA_VERSION, FileRecord, Manifest, Plan, fingerprint
from schemas.secrets import mask
from schemas.specs import JobSpec, Resources, RunSpec
from schemas.tables import IMAGE_LIST, Table


@dataclass(frozen=True)
class Work:
    """What a job is going to do.

    Attributes:
        items: the work list: images, units, classes or checkpoints, one per row.
        stage: what is done with a slice of it.
        identity: what decides the tables' bytes, beside what the engine adds: the list itself, its
            cut, the scan, the device, the threads and the versions of the libraries.
        contract: of the work list.
        batch_size: items per batch; a shard holds whole ones.
        shard_size: items per shard; None: a 32nd of them, in whole batches, at most 4096.
        implied: the list follows from the scan and the rest of the identity, so that its digest is
            left out of it.
    """

    items: pa.Table
    stage: Stage
    identity: dict[str, Any]
    contract: Table = IMAGE_LIST
    batch_size: int = 1
    shard_size: int | None = None
    implied: bool = False


@dataclass(frozen=True)
class Summary:
    """What a job made, for its closing lines.

    Attributes:
        words: what was made, "12 projections of 3 images".
        next: a command to go on with.
        warnings: lines for stderr.
    """

    words: str
    next: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The closing lines of a job.

    Attributes:
        text: for stdout.
        warnings: for stderr, one line each.
    """

    text: str
    warnings: tuple[str, ...] = ()


def run_and_report(spec: JobSpec) -> Report:
    """Run a job and say what came of it.

    Raises:
        InputError: the spec, the model or the data are wrong, or the folder holds another plan.
        JobError: the work failed; what was committed stays, and the same call resumes.
    """
    info = info_of(spec)
    module = _module(info)
    if hasattr(module, "run"):
        return Report(module.as_text(module.run(spec)))
    store = JobStore(JobFolder(spec.home, info.name))
    before = store.manifest()
    begun = before is not None or store.plan() is not None
    started = time.monotonic()
    manifest = run(spec)
    seconds = time.monotonic() - started
    how = f"done in {seconds:.1f} s"
    if before is not None:
        how = f"already done ({manifest.provenance.created_at})"
    elif not begun:
        images = manifest.counts.get("images", 0) + manifest.counts.get("rejects", 0)
        how += f" ({images / seconds:.1f} images/s)" if images else ""
    summary = getattr(module, "summary", _summary)(spec, manifest)
    text = f"{info.name} {how}: {summary.words}, in {spec.home}\nnext: {summary.next}"
    return Report(text, summary.warnings)


def run(spec: JobSpec) -> Manifest:
    """Do a job that works on shards, or finish what was begun.

    A published job is never worked on again, and one that two drivers run at once ends well for
    both.

    Args:
        spec: of one of `schemas.jobs.JOBS`.

    Returns:
        The published manifest; at once where the same plan is already published.

    Raises:
        InputError: the spec, the model or the data are wrong, or the folder holds another plan.
        JobError: the work failed; what was committed stays, and the same call resumes.
    """
    info = info_of(spec)
    resources: Resources = spec.resources  # type: ignore[attr-defined]  # every job with shards has
    require_device(resources)
    module = _module(info)
    store = JobStore(JobFolder(spec.home, info.name))
    scan = open_published_scan(spec.home) if isinstance(spec, RunSpec) else None
    arguments = (spec,) if scan is None else (spec, scan)
    for need in module.needs(*arguments) if hasattr(module, "needs") else ():
        other = JobFolder(need.home, info_of(need).name)
        if not JobStore(other).published():
            say(f"unitscope: {info.name} needs {other.job} in {mask(need.home)}")
        run(need)
    work: Work = module.plan(*arguments)
    frame = {"scan": scan.manifest.fingerprint} if scan is not None else {}
    threads = resolved_threads(resources, store)
    plan = _plan(info, work, frame | {"device": resources.device, "threads": threads})
    store.require_same_plan(plan)
    published = store.manifest()
    if published is None:
        try:
            published = _work_through(spec, work, store, plan)
        except StoreError:
            # Another driver on the same folder may have published, and cleaned up, meanwhile.
            published = store.manifest()
            if published is None:
                raise
    store.finish()
    return published


def info_of(spec: JobSpec) -> JobInfo:
    """The job that a spec is of."""
    return next(info for info in JOBS.values() if info.spec is type(spec))


def require_device(resources: Resources) -> None:
    """Refuse a GPU that this process would need and lacks, before a folder is bound to it.

    Raises:
        SpecError: there is none; on Ray only the cluster knows.
    """
    if resources.local and resources.device == "cuda" and not torch.cuda.is_available():
        raise SpecError(
            "resources.device: cuda finds no GPU in this process; take cpu, or a machine with a "
            "GPU and its driver"
        )


def resolved_threads(resources: Resources, store: JobStore) -> int:
    """What the spec says, else what the folder's work was begun with, else half of the cores."""
    if resources.threads is not None:
        return resources.threads
    begun = store.manifest() or store.plan()
    return int(begun.identity["threads"]) if begun else default_threads()


def _module(info: JobInfo) -> Any:
    return import_module(f"jobs.{info.name.replace('-', '_')}")


def _plan(info: JobInfo, work: Work, frame: dict[str, Any]) -> Plan:
    count = work.items.num_rows
    shard_size = work.shard_size or default_shard_size(count, work.batch_size)
    frame |= {"schema_version": SCHEMA_VERSION, "shard_size": shard_size}
    # Of the packages whose kernels and decoders may round otherwise in another release.
    packages = ("unitscope", "torch", "torchvision", "pillow")
    frame["versions"] = {name: version(name) for name in packages}
    if taken := frame.keys() & work.identity.keys():
        raise ValueError(f"{info.name}: the engine itself sets {sorted(taken)} of the identity")
    identity = frame | work.identity
    items = work.stage.items
    if not work.implied and items not in identity:
        keys = {name: work.items[name].to_pylist() for name in work.contract.key}
        identity[items] = {"count": count, "sha256": fingerprint(keys)}
    return Plan(
        job=info.name,
        fingerprint=fingerprint(identity),
        identity=identity,
        shards=shard_plan(count, shard_size=shard_size),
        items=items,
    )


def _work_through(spec: JobSpec, work: Work, store: JobStore, plan: Plan) -> Manifest:
    store.put_work_list(work.contract, work.items)
    plan = store.open_plan(plan)
    contracts = dict(work.stage.parts)
    done = _run_shards(work.stage, store, contracts, plan)
    merge = getattr(_module(info_of(spec)), "merge", _merge)
    return store.publish(
        Manifest(
            job=plan.job,
            fingerprint=plan.fingerprint,
            identity=plan.identity,
            spec=spec.model_dump(mode="json"),
            tables=merge(work, Parts(store, plan, contracts, done.counts)),
            counts=done.counts | {"shards": len(plan.shards), "retries": done.retries},
            provenance=collect(work.stage.resources.device),
        )
    )


def _run_shards(
    stage: Stage, store: JobStore, contracts: dict[str, Table], plan: Plan
) -> RunSummary:
    """Run a stage over the shards that are not done, with progress on stderr."""
    done = store.markers()
    sizes = {shard.index: shard.stop - shard.start for shard in plan.shards}
    already = sum(size for index, size in sizes.items() if index in done)
    threads = int(plan.identity["threads"])
    with make_progress(
        stage.name, stage.items, total=sum(sizes.values()), done=already
    ) as progress:
        return run_shards(
            stage, store.folder, contracts, plan.shards, threads=threads, progress=progress
        )


def _merge(_: Work, parts: Parts) -> dict[str, tuple[FileRecord, ...]]:
    """Every part table is a final one: its parts one after another."""
    return {
        contract.name: parts.put_by_rows(contract, parts.read(name))
        for name, contract in parts.contracts.items()
    }


def _summary(spec: JobSpec, manifest: Manifest) -> Summary:
    beside = ("shards", "retries")
    counted = {name: count for name, count in manifest.counts.items() if name not in beside}
    words = ", ".join(f"{count:,} {name}" for name, count in counted.items())
    return Summary(words, f"unitscope gallery {shlex.quote(spec.home)}")
