"""Values that no spec takes, in YAML, each with what the error says would do.

Those of one job's own fields stand in its test, tests/schemas/jobs/test_<job>.py, as ``WRONG``.
"""

from __future__ import annotations

from schemas.specs import (
    DatasetSpec,
    ImageSelection,
    LayerSelection,
    ModelSpec,
    PreprocessSpec,
    Resources,
    Spec,
)

Wrong = dict[str, str]
"""From a wrong value, in YAML, to what the error says would do."""

HUGE = "9" * 30
LONG = "x" * 200
NUMBER, TEXT, LIST, FINITE = "valid integer", "valid string", "a list is needed", "finite number"
SWITCH, ABOVE, BELOW = "are for switches", "greater than", "less than or equal to"
NO_DRIVER, NO_NULL = "no driver for this kind of URL", "null character"
LAYERS = {"relu1": LIST, "[3]": TEXT, "[rellu1]": "nearest: relu1"}

COUNT: Wrong = {"0": ABOVE, "x": NUMBER, "1.5": NUMBER, "true": SWITCH, HUGE: BELOW, "[3]": NUMBER}
NATURAL: Wrong = {"-1": ABOVE, "x": NUMBER, "1.5": NUMBER, "true": SWITCH, HUGE: BELOW}
PLACE: Wrong = {
    "3": TEXT,
    '""': "at least 1 character",
    r'"\0"': NO_NULL,
    "s4://b/x": NO_DRIVER,
    "s3://key:word@b/x": "give them to fsspec",
}
BESIDE = {'["*"]', "[4, 4]", "false"}
"""Values that are wrong only beside another one, which the error names instead."""

SHARED: dict[type[Spec], dict[str, Wrong]] = {
    ModelSpec: {
        "arch": {
            "3": TEXT,
            '""': "at least 1 character",
            "[vgg16]": TEXT,
            "resnet19": "nearest: resnet18",
            LONG: "choices: ",
            "none.py:small": "not a Python file",
        },
        "weights": PLACE | {"none.pth": "give a file, or 'random'", "RANDOM": "or 'random'"},
        "seed": NATURAL,
        "num_classes": COUNT | {"1000001": BELOW},
        "trust_code": {"maybe": "valid boolean", "2": "valid boolean", "false": "--trust-code"},
    },
    DatasetSpec: {
        "uri": PLACE | {"/nowhere": "give a folder of pictures"},
        "limit": COUNT,
        "max_pixels": COUNT,
        "max_reject_fraction": {
            "-0.1": ABOVE, "1.1": BELOW, ".nan": "", "x": "valid number", "true": SWITCH,
        },
    },
    PreprocessSpec: {
        "resize_px": COUNT | {"8193": BELOW},
        "crop_px": COUNT | {"8193": BELOW, "1": "fails on a frame of 1 px"},
        "interpolation": {"linear": "nearest, bilinear, bicubic", "3": "nearest, bilinear"},
        "value_range": {"0": ABOVE, ".inf": FINITE, "x": "valid number", "true": SWITCH},
        "mean": {"0.5": LIST, "[0, 0]": "item 3", "[.nan, 0, 0]": FINITE, "[0, 0, 0, 0]": "most 3"},
        "std": {"[0, 1, 1]": ABOVE, "[-1, 1, 1]": ABOVE, "[.inf, 1, 1]": FINITE, "[a, 1, 1]": ""},
    },
    LayerSelection: {"include": LAYERS, "exclude": LAYERS | {'["*"]': "leaves no layer"}},
    Resources: {
        "device": {"gpu": "cpu, cuda", "3": "cpu, cuda", "cuda": "take cpu"},
        "threads": COUNT | {"1025": BELOW},
        "workers": COUNT | {"2": "local runs one worker"},
        "decode_threads": COUNT | {"257": BELOW},
        "local": {"maybe": "valid boolean", "2": "valid boolean"},
        "ray_address": {"3": TEXT, '""': "at least 1 character", "ray://h:1": "local and"},
    },
    ImageSelection: {
        "ids": {"3": LIST, "[-1]": ABOVE, "[9]": "choices: 0 to 1", "[true]": SWITCH},
        "classes": {"ants": LIST, "[[1]]": TEXT, "[aunts]": "nearest: ants"},
        "of_unit": {
            "relu1": "relu1:3", "rellu1:0": "nearest: relu1", "relu1:77": "choices: 0 to 5",
            f"relu1:{HUGE}": "relu1:3",
        },
        "sample": COUNT,
        "seed": NATURAL,
    },
}  # fmt: skip
"""Of the specs that several jobs hold."""
