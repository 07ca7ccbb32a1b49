"""Trains the demo's network, `small_zfnet`, to classify the drawn scenes.

The weights' file holds the record of how they were trained, so that the two cannot part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from pipeline.data.listing import list_images
from pipeline.data.loader import ImageLoader
from pipeline.demo.train import Epoch, Recipe, accuracy, train
from pipeline.models.load import load_model
from schemas.errors import DatasetError, ModelError
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec

ARCH = "small_zfnet"
HELD_OUT = 5
"""Every fifth row of the image list is kept from the training, to judge it by."""

_NOTE = "unitscope"


@dataclass(frozen=True)
class Training:
    """What decides the weights.

    Attributes:
        pictures: rows of the image list, those held out included.
        passes: over the pictures that are not held out.
        seed: of the first weights and of the training.
    """

    pictures: int
    passes: int
    seed: int = 0


def train_scene_net(
    manifest: str, training: Training, *, on_epoch: Callable[[Epoch], None]
) -> bytes:
    """Train on the pictures of an image list.

    Args:
        manifest: of `pipeline.demo.scenes.write_scenes`, a local path or URL.
        training: how.
        on_epoch: told of every pass when it ends.

    Returns:
        A safetensors file, with the record that `read_record` reads: the same bytes for the same
        arguments on one kind of machine.

    Raises:
        DatasetError: a picture cannot be read, or their number is not the training's.
        JobError: the training failed.
    """
    model = load_model(ModelSpec(arch=ARCH, weights="random", seed=training.seed))
    frames, labels = _read(manifest, training, model.preprocess)
    held = torch.arange(len(frames)) % HELD_OUT == HELD_OUT - 1
    recipe = Recipe(
        model.preprocess, training.passes, batch_size=32, learning_rate=0.02, seed=training.seed
    )
    with _one_thread():
        train(model.module, frames[~held], labels[~held], recipe, on_epoch=on_epoch)
        right = accuracy(model.module, frames[held], labels[held], model.preprocess)
    state = {name: value.contiguous() for name, value in model.module.state_dict().items()}
    record = json.dumps({"training": asdict(training), "held_out_accuracy": right}, sort_keys=True)
    return safetensors.torch.save(state, metadata={_NOTE: record})


def read_record(weights: Path) -> tuple[Training, float]:
    """How weights were made, and the share of the held-out pictures that they name right.

    Raises:
        ModelError: the file was not made by `train_scene_net`.
    """
    try:
        with safetensors.safe_open(weights, framework="pt") as file:
            record = json.loads(file.metadata()[_NOTE])
        return Training(**record["training"]), float(record["held_out_accuracy"])
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{weights}: does not say how it was trained ({error!r}); take another folder, or "
            "remove the file"
        ) from error


def _read(manifest: str, training: Training, preprocess: PreprocessSpec) -> tuple[Tensor, Tensor]:
    """The pictures, resized but not cropped, uint8 [N, 3, S, S], and their labels, int64 [N]."""
    data = DatasetSpec(uri=manifest)
    rows = list_images(data)
    if rows.num_rows != training.pictures:
        raise DatasetError(
            f"{manifest}: lists {rows.num_rows} pictures, the training is of {training.pictures}; "
            "take another folder"
        )
    with ImageLoader(
        lambda start, stop: rows.slice(start, stop - start),
        preprocess=preprocess.model_copy(update={"crop_px": preprocess.resize_px}),
        data=data,
        batch_size=64,
        threads=2,
    ) as loader:
        batches = list(loader.batches(Shard(index=0, start=0, stop=rows.num_rows)))
    for reject in (reject for batch in batches for reject in batch.rejects):
        raise DatasetError(
            f"{reject.uri}: {reject.reason} ({reject.detail}); draw the pictures again, into "
            "another folder"
        )
    frames = torch.cat([batch.frames for batch in batches])[: rows.num_rows]
    return frames, torch.tensor(rows["label"].to_pylist())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, and so would every weight.

    More than one would also wait for each other wherever a core is busy with something else.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
