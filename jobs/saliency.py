"""The saliency maps of a scan's images: which images, and whether the network allows it."""

from __future__ import annotations

from jobs.engine import Work
from jobs.published_scan import PublishedScan, require_class
from pipeline.analysis.rectified_backprop import require_rectifiers
from pipeline.stages.saliency import SaliencyStage
from schemas.jobs.saliency import SaliencySpec


def plan(spec: SaliencySpec, scan: PublishedScan) -> Work:
    """The chosen images.

    What a worker would refuse is refused here: then the folder is not yet bound to the plan.

    Raises:
        InputError: no image is chosen, the target is unknown, a method is not defined for the
            network, or weights or pictures are others than the scan's.
    """
    network = scan.network()
    require_class(network, spec.target)
    for rule in ("guided", "deconvnet"):
        if rule in spec.methods:
            require_rectifiers(network, rule)
    stage = SaliencyStage(scan.source, spec.resources, spec)
    own = ("target", "samples", "noise_percent", "steps", "seed", "picture_px", "batch_bytes")
    return Work(
        scan.choose(spec.images),
        stage,
        identity={"methods": sorted(spec.methods)} | {name: getattr(spec, name) for name in own},
        batch_size=stage.batch_size,
    )
