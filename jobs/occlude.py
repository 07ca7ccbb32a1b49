"""The occlusion of a scan's images: which images, which layer is watched (ZF 4.2, fig. 7)."""

from __future__ import annotations

import shlex

import pyarrow as pa

from jobs.engine import Summary, Work
from jobs.published_scan import PublishedScan, require_class
from pipeline.analysis.occlusion.grid import require_fit
from pipeline.data.object_boxes import Boxes, manifest_boxes
from pipeline.models.network import Network
from pipeline.stages.occlude import OccludeStage, projector_of
from schemas.errors import LayerError, ModelError
from schemas.jobs.occlude import OccludeSpec
from schemas.manifest import Manifest, fingerprint

_NONE = "none: "  # in the identity, before why the deconvnet's rule is not defined


def plan(spec: OccludeSpec, scan: PublishedScan) -> Work:
    """The chosen images, with what is known of the objects in them.

    Raises:
        InputError: no image is chosen, a window does not fit, the layer or the target is unknown,
            a box is wrong, or weights or pictures are others than the scan's.
    """
    network = scan.network()
    layer = watched_layer(network, spec.layer)
    require_fit(spec.windows, scan.source.preprocess.crop_px)
    _require_possible(spec, network)
    images = scan.choose(spec.images)
    boxes = _boxes(spec, scan, images)
    edges = {uri: [list(box) for box in own] for uri, own in boxes.items()}
    projector = projector_of(network, network.layer(layer))
    return Work(
        items=images,
        stage=OccludeStage(scan.source, spec.resources, spec, layer, boxes),
        identity={
            "windows": [window.model_dump() for window in spec.windows],
            "fill": spec.fill,
            "target": spec.target,
            "layer": layer,
            "boxes": fingerprint(edges) if edges else None,
            "engine": spec.engine,
            "batch_bytes": spec.batch_bytes,
            "projection": f"{_NONE}{projector}" if isinstance(projector, str) else "deconvnet",
        },
    )


def summary(spec: OccludeSpec, manifest: Manifest) -> Summary:
    """How many windows, on how many images."""
    positions, images = manifest.counts["positions"], manifest.counts["images"]
    rule = str(manifest.identity["projection"])
    return Summary(
        f"{positions:,} windows on {images:,} images",
        f"unitscope gallery {shlex.quote(spec.run)}",
        warnings=(f"no projections of the strongest maps: {rule.removeprefix(_NONE)}",)
        if rule.startswith(_NONE)
        else (),
    )


def watched_layer(network: Network, name: str | None) -> str:
    """The layer whose strongest map is watched; left open, the last convolutional one (ZF 4.2).

    That is the last activation function's output that still is a map, but for one with a map a
    class and no weights after it, which would only say again what the probability says.

    Raises:
        LayerError: there is no such layer, or none with a map.
    """
    if name is not None:
        return network.layer(name).name
    maps = [layer for layer in network.layers if layer.activation and layer.default]
    maps = [layer for layer in maps if layer.layout.map_size != (1, 1)]
    classes = network.layers[-1].units
    weighted = [layer.position for layer in network.layers if layer.kind in ("conv2d", "linear")]
    last = max(weighted, default=-1)
    features = [layer for layer in maps if layer.units != classes or layer.position < last] or maps
    if not features:
        raise LayerError(
            "layer: no activation of the model has a map; name a layer, `unitscope layers --all` "
            "lists them"
        )
    return features[-1].name


def _require_possible(spec: OccludeSpec, network: Network) -> None:
    """Refuse here what a worker would refuse: then the folder is not yet bound to the plan."""
    require_class(network, spec.target)
    if spec.engine == "incremental" and network.geometry is None:
        raise ModelError(
            f"engine incremental needs a network that can be traced: {network.note}; take engine "
            "dense"
        )


def _boxes(spec: OccludeSpec, scan: PublishedScan, images: pa.Table) -> Boxes:
    """The chosen images' boxes: of the spec's file, else of the manifest's own column."""
    known = manifest_boxes(scan.spec.data.uri) if spec.boxes is None else scan.boxes(spec.boxes)
    return {uri: known[uri] for uri in images["uri"].to_pylist() if uri in known}
