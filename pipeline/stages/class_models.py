"""The class models of one shard of targets: classes, or units of any layer.

The targets of a batch go through the network together, each by itself: a batch has one size in the
whole job, filled up where it ends early, so that a target's image depends on neither company,
shards nor workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.analysis.class_models.ascent import (
    Ascended,
    Ascent,
    Colour,
    Field,
    Start,
    ascend,
    beginning,
)
from pipeline.analysis.class_models.objective import (
    Raised,
    Target,
    raise_values,
    raised_layer,
    read_scores,
    target_box,
)
from pipeline.data.preprocess import normalise
from pipeline.models.network import Network
from pipeline.stages.contract import StageOutput
from pipeline.stages.model_stage import ModelStage
from pipeline.stages.stored_pictures import encode_png
from schemas.arrays import Ints
from schemas.jobs.class_models import ASCENT, MODELS, TARGET_LIST, ClassModelsSpec
from schemas.manifest import Shard
from schemas.specs import PreprocessSpec
from schemas.tables import BOX, Table

_KEY = ("layer", "unit", "start")


@dataclass(frozen=True)
class _Found:
    """The targets of a batch when their ascent is over.

    Attributes:
        boxes: what each can see, y0, x0, y1, x1, unclipped.
        fields: how much of the frame that is.
        ended: the ascent.
        frames: the images as pictures, uint8 [N, 3, S, S].
        values: float64 [N] by moment, ``start`` and ``end``.
        p: the classes' probabilities for the frames, float64 [N, classes].
    """

    boxes: list[Ints]
    fields: list[Field]
    ended: Ascended
    frames: Tensor
    values: dict[str, Tensor]
    p: Tensor


@dataclass
class ClassModelsStage(ModelStage):
    """Finds the images of the targets of shards.

    Attributes:
        spec: what to do.
        batch_size: targets in every pass.
    """

    name: ClassVar[str] = "class-models"
    items: ClassVar[str] = "targets"
    spec: ClassModelsSpec
    batch_size: int

    @property
    def parts(self) -> dict[str, Table]:
        """See `Stage.parts`."""
        return {"models": MODELS, "ascent": ASCENT}

    def open(self, network: Network) -> None:
        """Compile a run for the classes' scores; each batch compiles its own for its targets."""
        spec = self.spec
        self._network = network
        self._scores = read_scores(network)
        self._ascent = Ascent(
            side=self.source.preprocess.crop_px,
            steps=spec.steps,
            rate=spec.rate,
            normalise=spec.normalise,
            l2=spec.l2,
            basis=spec.basis,
            lowest=_input_colour(0, self.source.preprocess),
            highest=_input_colour(255, self.source.preprocess),
            blur_px=spec.blur_px,
            blur_every=spec.blur_every,
            jitter_px=spec.jitter_px,
            noise=spec.noise,
            seed=spec.seed,
        )

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:  # noqa: ARG002
        """See `Stage.process`; nothing is read ahead."""
        rows = self.work_rows(TARGET_LIST, shard.start, shard.stop).to_pylist()
        models: list[dict[str, Any]] = []
        ascents: list[dict[str, Any]] = []
        for first in range(0, len(rows), self.batch_size):
            own = rows[first : first + self.batch_size]
            found = self._find([Target(*(row[name] for name in _KEY)) for row in own])
            for place, row in enumerate(own):
                models.append(self._model(row, found, place))
                ascents += self._curve(row, found, place)
        tables = {
            "models": pa.Table.from_pylist(models, schema=MODELS.schema),
            "ascent": pa.Table.from_pylist(ascents, schema=ASCENT.schema),
        }
        return StageOutput(tables, {self.items: len(rows), "missed": sum(map(_missed, models))})

    def _find(self, targets: list[Target]) -> _Found:
        spec, frame_px = self.spec, self.source.preprocess.crop_px
        targets = targets + targets[-1:] * (self.batch_size - len(targets))
        boxes = [
            target_box(self._network.layer(each.layer), each.unit, spec.position, frame_px)
            for each in targets
        ]
        fields = [(y1 - y0, x1 - x0) for y0, x0, y1, x1 in _clipped(boxes, frame_px)]
        own = [
            beginning(target, field, self._ascent)
            for target, field in zip(targets, fields, strict=True)
        ]
        start = Start(
            torch.stack([image for image, _ in own]).to(self.device, self.dtype),
            torch.stack([shifts for _, shifts in own]),
            fields,
        )
        raised = raise_values(self._network, targets, spec.position)
        ended = ascend(raised, start, self._ascent)
        frames = to_frames(ended.images, self.source.preprocess)
        shown = normalise(frames, self.source.preprocess, self.dtype)
        moments = {"start": start.images, "end": ended.images}
        return _Found(
            boxes=boxes,
            fields=fields,
            ended=ended,
            frames=frames.cpu(),
            values={name: _values(raised, each) for name, each in moments.items()},
            p=_values(self._scores, shown).softmax(dim=1),
        )

    def _model(self, row: dict[str, Any], found: _Found, place: int) -> dict[str, Any]:
        """A row of class-models/models."""
        layer = self._network.layer(row["layer"])
        is_class = layer.name == self._network.layers[-1].name
        box, p = found.boxes[place], found.p[place]
        picture = cut_out(found.frames[place], box)
        pixels = picture.permute(1, 2, 0).numpy()
        return {
            **row,
            "raised": raised_layer(self._network, layer).name,
            **{f"score_{name}": each[place].item() for name, each in found.values.items()},
            "penalty_end": self._ascent.penalty(found.ended.images[place][None]).item(),
            "saturated": ((picture == 0) | (picture == 255)).double().mean().item(),
            "p_target": p[row["unit"]].item() if is_class else None,
            "predicted": p.argmax().item() if is_class else None,
            "steps_without_gradient": found.ended.stopped[place].item(),
            "jitter_px": self._ascent.jitter_of(found.fields[place]),
            **{column.name: int(edge) for column, edge in zip(BOX, box, strict=True)},
            "picture": {"bytes": encode_png(pixels, self.spec.picture_px), "path": None},
        }

    def _curve(self, row: dict[str, Any], found: _Found, place: int) -> list[dict[str, Any]]:
        """A target's rows of class-models/ascent; the last is of the image as it stands."""
        ended = found.ended
        end = ended.images[place][None]
        steps = (*self._ascent.curve_steps, self._ascent.steps)
        scores = [*ended.values[place].tolist(), found.values["end"][place].item()]
        penalties = [*ended.penalties[place].tolist(), self._ascent.penalty(end).item()]
        key = {name: row[name] for name in _KEY}
        return [
            {**key, "step": step, "score": score, "penalty": penalty}
            for step, score, penalty in zip(steps, scores, penalties, strict=True)
        ]


def to_frames(images: Tensor, spec: PreprocessSpec) -> Tensor:
    """The network's input as pictures, the inverse of `pipeline.data.preprocess.normalise`.

    Args:
        images: [N, 3, S, S]; what is no number, from weights that are none, is the mean colour.
        spec: ``value_range``, ``mean``, ``std``.

    Returns:
        uint8 [N, 3, S, S]: values cut to 0..255 and rounded.
    """
    mean, std = (
        torch.tensor(colour, dtype=images.dtype, device=images.device).view(3, 1, 1)
        for colour in (spec.mean, spec.std)
    )
    pixels = (torch.where(images.isnan(), 0, images) * std + mean) * (255 / spec.value_range)
    return pixels.clamp(0, 255).round().to(torch.uint8)


def cut_out(frame: Tensor, box: Ints) -> Tensor:
    """Where a box, y0, x0, y1, x1, unclipped, and a frame [3, S, S] overlap: [3, height, width]."""
    [(y0, x0, y1, x1)] = _clipped([box], frame.shape[-1])
    return frame[:, y0:y1, x0:x1]


def _clipped(boxes: list[Ints], frame_px: int) -> list[list[int]]:
    return [box.clip(0, frame_px).tolist() for box in boxes]


def _input_colour(value: int, spec: PreprocessSpec) -> Colour:
    """A grey of 0..255 as the network's input, per colour."""
    red, green, blue = (
        (value / 255 * spec.value_range - mean) / std
        for mean, std in zip(spec.mean, spec.std, strict=True)
    )
    return red, green, blue


@torch.inference_mode()
def _values(run: Raised, images: Tensor) -> Tensor:
    """What a run gives for images, float64, on the CPU."""
    return run(images.contiguous(memory_format=torch.channels_last)).double().cpu()


def _missed(model: dict[str, Any]) -> bool:
    """Whether the value did not rise, or the network calls the picture of a class another one."""
    other = model["predicted"] is not None and model["predicted"] != model["unit"]
    return other or not model["score_end"] > model["score_start"]
