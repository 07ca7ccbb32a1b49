"""The flags of each job, as tables.

Invariant: a flag only names a field of the spec; what values it takes, and its default, stand in
the spec alone.
"""

from __future__ import annotations

from jobs.flags import Flag
from jobs.spec_io import NULL

MODEL_FLAGS = (
    Flag(
        "--arch",
        "model.arch",
        "The network: a torchvision classification model, zfnet, krizhevsky, or an import path "
        "'package.module:function' or 'file.py:function' (with --trust-code).",
        metavar="NAME",
        panel="Model",
    ),
    Flag(
        "--weights",
        "model.weights",
        "A .safetensors or .pth file or URL, a torchvision weights name, or 'random'. "
        "Left out: torchvision's DEFAULT.",
        metavar="FILE|NAME",
        panel="Model",
    ),
    Flag("--seed", "model.seed", "Seed of weights 'random'.", metavar="N", panel="Model"),
    Flag(
        "--trust-code",
        "model.trust_code",
        "Allow an import path as --arch; it runs the code that it names.",
        kind="switch",
        panel="Model",
    ),
)

_WHERE_FLAGS = (
    Flag(
        "--workers",
        "resources.workers",
        "Worker processes; auto: as many as the cores or GPUs carry.",
        metavar="auto|N",
        panel="Where it runs",
        read=lambda text: NULL if text == "auto" else text,
    ),
    Flag(
        "--device", "resources.device", "Kind of device.", metavar="cpu|cuda", panel="Where it runs"
    ),
    Flag(
        "--local",
        "resources.local",
        "In this process, without Ray.",
        kind="switch",
        panel="Where it runs",
    ),
    Flag(
        "--ray",
        "resources.ray_address",
        "A running Ray cluster. Left out: RAY_ADDRESS, else an embedded one.",
        metavar="ADDRESS",
        panel="Where it runs",
    ),
)

SCAN_FLAGS = (
    *MODEL_FLAGS,
    Flag(
        "--data",
        "data.uri",
        "A folder of images, a CSV or Parquet manifest (path,label,class_name), a Parquet table "
        "of image bytes, or tar shards; a path or URL.",
        metavar="PATH",
        panel="Data",
    ),
    Flag("--limit", "data.limit", "Only the first N images.", metavar="N", panel="Data"),
    Flag("--out", "out", "The run's folder, a path or URL.", metavar="RUN", panel="Data"),
    Flag(
        "--layers",
        "layers.include",
        "Globs over the names that `unitscope layers` prints; repeatable, or by commas. Left out: "
        "every activation function's output, and the classifier's.",
        metavar="GLOB",
        kind="list",
        panel="Work",
    ),
    Flag("--top", "top", "Top patches kept a unit (9).", metavar="K", panel="Work"),
    Flag("--batch-size", "batch_size", "Images a batch (64).", metavar="N", panel="Work"),
    Flag(
        "--shard-size",
        "shard_size",
        "Images a shard, the unit of retry and resume; a multiple of the batch size. Left out: a "
        "32nd of the images, at most 4096.",
        metavar="N",
        panel="Work",
    ),
    Flag(
        "--precision",
        "precision",
        "Of the network's arithmetic (fp32).",
        metavar="fp32|tf32|bf16",
        panel="Work",
    ),
    *_WHERE_FLAGS,
)

RUN_ARGUMENT = Flag("RUN", "run", "A run's folder, a path or URL.", metavar="RUN", kind="argument")

_SCANNED_LAYERS = Flag(
    "--layers",
    "layers.include",
    "Globs over the names of the scanned layers; repeatable, or by commas. Left out: all.",
    metavar="GLOB",
    kind="list",
)

PROJECT_FLAGS = (
    RUN_ARGUMENT,
    _SCANNED_LAYERS,
    Flag("--units", "units", "A unit or a range, 0-63. Left out: all.", metavar="UNITS"),
    Flag(
        "--rule",
        "rule",
        "What happens to the signal at a rectifier on its way down (deconvnet); gradient works for "
        "every activation function.",
        metavar="deconvnet|guided|gradient",
    ),
    *_WHERE_FLAGS,
)

OCCLUDE_FLAGS = (
    RUN_ARGUMENT,
    Flag(
        "--images",
        "images.ids",
        "Only these images, by image_id, 12,40; repeatable, or by commas.",
        metavar="ID",
        kind="list",
        panel="Which images",
    ),
    Flag(
        "--class",
        "images.classes",
        "Only images of these classes, by name or label number; repeatable, or by commas.",
        metavar="NAME",
        kind="list",
        panel="Which images",
    ),
    Flag(
        "--of-unit",
        "images.of_unit",
        "Only images among the top patches of this unit, features.12:7.",
        metavar="LAYER:UNIT",
        panel="Which images",
    ),
    Flag(
        "--sample",
        "images.sample",
        "Only so many of these, drawn by lot (--set images.seed=1: others); 'all': every one. Left "
        "out: 100 of the scan's images, or all that the flags above leave.",
        metavar="N|all",
        panel="Which images",
        read=lambda text: NULL if text == "all" else text,
    ),
    Flag(
        "--window-px",
        "window_px",
        "Sides of the windows, 16 or 16x24 (height x width), in pixels of the network's input; "
        "repeatable, or by commas (16).",
        metavar="PX",
        kind="list",
        panel="Work",
    ),
    Flag(
        "--stride-px",
        "stride_px",
        "Step of the windows down and across, one for all or one each (4).",
        metavar="PX",
        kind="list",
        panel="Work",
    ),
    Flag(
        "--fill",
        "fill",
        "What stands in the window: mid-grey, the colour that the preprocessing subtracts, the "
        "image itself blurred, or a colour (grey).",
        metavar="grey|mean|blur|#rrggbb",
        panel="Work",
    ),
    Flag(
        "--target",
        "target",
        "Number of the class whose probability is recorded, the same for every image. Left out: "
        "the image's label, or the prediction where it has none.",
        metavar="N",
        panel="Work",
    ),
    Flag(
        "--layer",
        "layer",
        "The layer whose strongest map's activity is recorded. Left out: the last convolutional "
        "one.",
        metavar="NAME",
        panel="Work",
    ),
    Flag(
        "--boxes",
        "boxes",
        "Where the objects are, to tell how much of the drop lies on them: a CSV "
        "(path,part,y0,x0,y1,x1) in the pictures' own pixels. Left out: the manifest's column "
        "'boxes', where it has one.",
        metavar="FILE",
        panel="Work",
    ),
    *_WHERE_FLAGS,
)

GALLERY_FLAGS = (
    RUN_ARGUMENT,
    Flag(
        "--out",
        "out",
        "Where to put the pages, a local folder; an earlier gallery there is replaced. Left out: "
        "RUN/gallery.",
        metavar="DIR",
    ),
    _SCANNED_LAYERS,
    Flag("--sheet-px", "sheet_px", "Side of one picture, 16 to 256 (64).", metavar="N"),
)
