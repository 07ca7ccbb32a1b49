"""The correspondence of parts in a scan's images: which boxes, which layers (ZF 4.3, table 1)."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from jobs.engine import Summary, Work
from jobs.published_scan import PublishedScan
from pipeline.analysis.correspondence import box_in_pixels, hamming
from pipeline.data.object_boxes import in_frame
from pipeline.models.network import Network
from pipeline.stages.correspond import CorrespondStage, PartBoxes, vector_length
from pipeline.store.parts import Parts
from schemas.arrays import Ints
from schemas.errors import DatasetError, LayerError, SpecError, nearest
from schemas.jobs.correspond import CONSISTENCY, CORRESPONDENCE, PART_ITSELF, CorrespondSpec
from schemas.manifest import FileRecord, Manifest, fingerprint
from schemas.secrets import mask
from schemas.specs import LayerSelection

MOST_COUNTS = 2**26
"""Of one sign, over layers, parts and draws: about 2 GiB of a worker's memory at the most."""
_FEW = 3


@dataclass
class _Found:
    """The boxes in the scanned images, in pixels of the input frame.

    Attributes:
        boxes: by image_id, ascending, and part.
        outside: part and picture of each box outside the frame.
    """

    boxes: dict[int, PartBoxes] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)


def plan(spec: CorrespondSpec, scan: PublishedScan) -> Work:
    """The images that have boxes.

    Raises:
        InputError: a box is wrong, no part is in two images, a layer or a part is unknown, the
            counts need too much memory, or weights or pictures are others than the scan's.
    """
    layers = chosen_layers(scan, spec.layers)
    found = _find_boxes(spec, scan)
    parts, alone = _choose_parts(spec, found)
    boxes = {
        image_id: {part: box for part, box in own.items() if part in parts}
        for image_id, own in found.boxes.items()
        if not parts.isdisjoint(own)
    }
    _require_memory(spec, scan.network(), layers, len(parts))
    return Work(
        items=scan.images(set(boxes)),
        stage=CorrespondStage(
            scan.source, spec.resources, spec, layers, tuple(sorted(parts)), boxes
        ),
        identity={
            "parts": sorted(parts),
            "layers": list(layers),
            "draws": spec.draws,
            "seed": spec.seed,
            "fill": spec.fill,
            "boxes": fingerprint({str(each): own for each, own in boxes.items()}),
            "in_one_image": alone,
            "outside": {"count": len(found.outside), "first": found.outside[:_FEW]},
        },
    )


def merge(work: Work, parts: Parts) -> dict[str, tuple[FileRecord, ...]]:
    """Add up the counts of all shards, and compute Delta of every mask from them."""
    layers: list[str] = work.identity["layers"]
    rows, summaries = [], []
    for layer in layers:
        keys, images, positive, negative = _total(parts, layer)
        own = [
            _consistency((layer, *key), int(count), up, down)
            for key, count, up, down in zip(keys, images, positive, negative, strict=True)
        ]
        rows += own
        of_part = work.identity["draws"] + 1
        summaries += [
            _against_random(own[start : start + of_part]) for start in range(0, len(own), of_part)
        ]
    tables = ((CONSISTENCY, rows), (CORRESPONDENCE, summaries))
    return {
        contract.name: (parts.put(contract, pa.Table.from_pylist(own, schema=contract.schema)),)
        for contract, own in tables
    }


def summary(spec: CorrespondSpec, manifest: Manifest) -> Summary:
    """What was masked, at which layers, and which boxes were left out."""
    identity, counts = manifest.identity, manifest.counts
    warnings = []
    if alone := identity["in_one_image"]:
        warnings.append(
            f"{', '.join(alone)}: left out, fewer than two images have it in the network's input "
            "frame"
        )
    if outside := identity["outside"]["count"]:
        first = ", ".join(identity["outside"]["first"])
        warnings.append(
            f"boxes outside the network's input frame, which are left out: {outside:,}, the first: "
            f"{first}"
        )
    return Summary(
        f"{counts['masks']:,} masks of {', '.join(identity['parts'])} and random places on "
        f"{counts['images']:,} images, layers {', '.join(identity['layers'])}",
        f"unitscope gallery {shlex.quote(spec.run)}",
        tuple(warnings),
    )


def chosen_layers(scan: PublishedScan, selection: LayerSelection) -> tuple[str, ...]:
    """The layers to look at, in the order of the network.

    Left open, two as in ZF table 1 (layers 5 and 7): the last activation that has a map, but for
    one with a map per class, and the last layer without positions before the scores, or the scores
    where there is none.

    Raises:
        LayerError: a glob matches no scanned layer, or none is left.
    """
    chosen = scan.layers(selection)
    if selection.include:
        return tuple(chosen)
    table = scan.run.table("layers", job="scan").sort_values("position")
    scores = table.iloc[-1]
    table = table[table["layer"].isin(chosen)]
    has_map = (table["map_height"] > 1) | (table["map_width"] > 1)
    maps = table[has_map & table["activation"] & (table["units"] != scores["units"])]
    vectors = table[~has_map]
    before = vectors[vectors["position"] < scores["position"]]
    top = vectors if before.empty else before
    if maps.empty and top.empty:
        raise LayerError(
            "layers: no activation with a map was scanned, and no layer without positions; "
            f"name layers, {nearest('', chosen)}"
        )
    return (*maps["layer"].tail(1), *top["layer"].tail(1))


def _find_boxes(spec: CorrespondSpec, scan: PublishedScan) -> _Found:
    known = scan.boxes(spec.boxes)
    images = scan.run.table("images", job="scan", columns=["image_id", "uri", "height", "width"])
    images = images[images["uri"].isin(list(known))].sort_values("image_id")
    preprocess = scan.source.preprocess
    found = _Found()
    for image_id, uri, *size in images.to_numpy().tolist():
        own = found.boxes[image_id] = {}
        for box in known[uri]:
            edges = in_frame(box, (size[0], size[1]), preprocess)
            seen = box_in_pixels(edges, preprocess.crop_px)
            if seen is None:
                found.outside.append(f"{box.name} of {uri}")
            elif box.name in own:
                raise DatasetError(
                    f"boxes: {mask(spec.boxes)} has {box.name!r} of {uri} twice; a part has one "
                    "box per image: keep one, or name them apart"
                )
            else:
                own[box.name] = seen
    return found


def _choose_parts(spec: CorrespondSpec, found: _Found) -> tuple[set[str], list[str]]:
    """The parts to mask, and those left out because fewer than two images have them."""
    images = Counter(part for own in found.boxes.values() for part in own)
    able = {part for part, count in images.items() if count > 1}
    for part in spec.parts:
        if part not in images:
            raise SpecError(
                f"parts: no scanned image has the part {part!r} in its frame; "
                f"{nearest(part, sorted(images))}"
            )
        if part not in able:
            raise SpecError(
                f"parts: {part!r} is in one image only, and pairs need two; "
                f"{nearest('', sorted(able))}"
            )
    if not able:
        raise SpecError(
            f"boxes: {mask(spec.boxes)} has no part that two scanned images have in their frames, "
            "and pairs need two; scan more of its pictures"
        )
    return set(spec.parts) or able, [] if spec.parts else sorted(images.keys() - able)


def _require_memory(
    spec: CorrespondSpec, network: Network, layers: tuple[str, ...], parts: int
) -> None:
    lengths = {name: vector_length(network.layer(name)) for name in layers}
    counts = parts * (spec.draws + 1) * sum(lengths.values())
    if counts > MOST_COUNTS:
        largest = max(lengths, key=lambda name: lengths[name])
        raise SpecError(
            f"layers: {parts} parts with {spec.draws} draws each need {counts:,} counts, "
            f"{MOST_COUNTS:,} is the most; take fewer draws, parts or layers, the largest is "
            f"{largest} ({lengths[largest]:,} values)"
        )


def _total(parts: Parts, layer: str) -> tuple[list[tuple[str, int]], Ints, Ints, Ints]:
    """Of one layer: part and draw of each row, images [rows], counts [rows, length]."""
    keys: list[tuple[str, int]] = []
    total: list[Ints] = []
    for table in parts.read("signs"):
        mine = np.array(table["layer"].to_pylist()) == layer
        rows = table.filter(pa.array(mine)).combine_chunks()
        keys = list(zip(rows["part"].to_pylist(), rows["draw"].to_pylist(), strict=True))
        lists = [rows[name].combine_chunks().flatten() for name in ("positive", "negative")]
        counts = [rows["images"].to_numpy(), *(each.to_numpy() for each in lists)]
        total = [old + new for old, new in zip(total, counts, strict=True)] if total else counts
    images, positive, negative = total
    return keys, images, positive.reshape(len(keys), -1), negative.reshape(len(keys), -1)


def _consistency(
    key: tuple[str, str, int], images: int, positive: Ints, negative: Ints
) -> dict[str, object]:
    """A row of correspond/consistency."""
    distance, length = hamming(images, positive, negative), len(positive)
    nonzero = int(positive.sum()) + int(negative.sum())
    return {
        **dict(zip(CONSISTENCY.key, key, strict=True)),
        "images": images,
        "length": length,
        "hamming": distance,
        "delta": distance / (images * (images - 1) * length),
        "zeros": 1 - nonzero / (images * length),
    }


def _against_random(rows: list[dict[str, object]]) -> dict[str, object]:
    """A row of correspond/summary, from those of one layer and part."""
    part = next(row for row in rows if row["draw"] == PART_ITSELF)
    random = np.array([row["delta"] for row in rows if row is not part], np.float64)
    mean, deviation = float(random.mean()), float(random.std(ddof=1))
    delta = float(str(part["delta"]))
    return {
        **{name: part[name] for name in ("layer", "part", "images", "delta")},
        "random_mean": mean,
        "random_std": deviation,
        "deviations": (mean - delta) / deviation if deviation > 0 else None,
    }
