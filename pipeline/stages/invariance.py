"""The invariance of one shard of images: every move of each, through the network.

The moves of an image share forward passes with each other alone, always in the same places of
passes of one shape: its rows depend on nothing but the picture and the plan.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from pipeline.analysis.invariance import distances, frames_at_once, relative
from pipeline.analysis.predictions import explained_classes
from pipeline.data.loader import Batch
from pipeline.data.moved_picture import MovedPicture
from pipeline.models.network import Network
from pipeline.stages.image_stage import ImageStage
from schemas.arrays import Floats
from schemas.jobs.invariance import MOVED_PICTURES, RESPONSES, InvarianceSpec
from schemas.moves import TRANSFORMS, Move
from schemas.tables import Table

STRIP_PICTURES, STRIP_PX = 5, 112
"""Moved frames in a stored strip, and the side of one."""


@dataclass(frozen=True)
class _Responses:
    """What the network makes of one image; the first row is the plain picture.

    Attributes:
        scores: [rows, classes].
        distance: by layer, float64 [rows]; the first is 0.
        norm: by layer, of the plain picture's values.
    """

    scores: Tensor
    distance: dict[str, Floats]
    norm: dict[str, float]


@dataclass
class InvarianceStage(ImageStage):
    """Moves the images of shards.

    Attributes:
        spec: what to do.
        layers: names, in the order of the network.
    """

    name: ClassVar[str] = "invariance"
    keeps_pictures: ClassVar[bool] = True
    spec: InvarianceSpec
    layers: tuple[str, ...]

    @property
    def parts(self) -> dict[str, Table]:
        """The final tables' own rows; the merge adds what sums them up."""
        return {"responses": RESPONSES, "pictures": MOVED_PICTURES}

    @property
    def batch_size(self) -> int:
        """Images decoded together: each fills passes by itself, and is kept in full size."""
        return 1

    def open(self, network: Network) -> None:
        """Compile the run that taps the layers."""
        self._layers = {name: network.layer(name) for name in self.layers}
        self._run = network.runner(self.layers)
        self._moved = [move for move in self.spec.moves if not move.is_identity]
        self._at_once = frames_at_once(network, self.spec.batch_bytes, 1 + len(self._moved))

    def counts(self, tables: Mapping[str, pa.Table]) -> dict[str, int]:
        """Moves, of every image."""
        return {"moves": tables["responses"].num_rows // len(self.layers)}

    def batch(self, batch: Batch) -> dict[str, pa.Table]:
        """The responses of a batch's images to every move, and strips of what was shown."""
        found: dict[str, list[dict[str, Any]]] = {"responses": [], "pictures": []}
        rows = batch.rows.to_pylist()
        for row, plain, pixels in zip(rows, batch.frames, batch.pictures, strict=False):
            picture = MovedPicture(pixels.to(self.device), self.source.preprocess, self.spec.fill)
            frames, filled = self._frames(plain, picture)
            with torch.inference_mode():
                responses = self._respond(frames)
            found["responses"] += self._rows(row, responses, filled)
            found["pictures"] += self._strips(row, frames)
        return {
            name: pa.Table.from_pylist(own, schema=self.parts[name].schema)
            for name, own in found.items()
        }

    def _frames(self, plain: Tensor, picture: MovedPicture) -> tuple[Tensor, list[float]]:
        """The plain frame and the moved ones, uint8 [rows, 3, S, S], and the share of fill."""
        moved = [picture.frame(move) for move in self._moved]
        _, of_plain = picture.frame(Move("translation", 0.0))
        frames = torch.stack([plain, *(frame.cpu() for frame, _ in moved)])
        return frames, [of_plain, *(share for _, share in moved)]

    def _respond(self, frames: Tensor) -> _Responses:
        """Run the frames of one image, in passes of one size."""
        scores: list[Tensor] = []
        plain: dict[str, Tensor] = {}
        found: dict[str, list[Tensor]] = {name: [] for name in self.layers}
        for start in range(0, len(frames), self._at_once):
            own = frames[start : start + self._at_once]
            missing = self._at_once - len(own)
            filled = torch.cat([own, frames[:1].expand(missing, -1, -1, -1)])
            count = len(own)

            def tap(name: str, value: Tensor, count: int = count) -> None:
                maps = self._layers[name].maps(value)
                if name not in plain:
                    plain[name] = maps[0].double()
                found[name].append(distances(maps[:count], plain[name]))

            scores.append(self._run(self.images(filled), tap)[:count])
        return _Responses(
            torch.cat(scores),
            {name: torch.cat(each).cpu().numpy() for name, each in found.items()},
            {name: float(torch.linalg.vector_norm(each)) for name, each in plain.items()},
        )

    def _rows(
        self, row: dict[str, Any], responses: _Responses, filled: list[float]
    ) -> list[dict[str, Any]]:
        """Rows of invariance/responses for one image."""
        p = responses.scores.double().softmax(dim=1).cpu().numpy()
        target = int(explained_classes(responses.scores[:1], [row["label"]], self.spec.target))
        shares = {
            name: relative(distance, responses.norm[name])
            for name, distance in responses.distance.items()
        }
        rows = []
        for move in self.spec.moves:
            place = 0 if move.is_identity else 1 + self._moved.index(move)
            about = {
                **{name: row[name] for name in ("image_id", "uri")},
                **move._asdict(),
                "target": target,
                "p_plain": float(p[0, target]),
                "p_target": float(p[place, target]),
                "predicted_plain": int(p[0].argmax()),
                "predicted": int(p[place].argmax()),
                "filled_share": filled[place],
            }
            for name in self.layers:
                share = float(shares[name][place])
                rows.append(
                    about
                    | {
                        "layer": name,
                        "distance": float(responses.distance[name][place]),
                        "relative_distance": None if np.isnan(share) else share,
                    }
                )
        return rows

    def _strips(self, row: dict[str, Any], frames: Tensor) -> list[dict[str, Any]]:
        """Rows of invariance/pictures for one image."""
        rows = []
        for transform in TRANSFORMS:
            own = [move for move in self.spec.moves if move.transform == transform]
            if not own:
                continue
            shown = [own[place] for place in strip_places(len(own))]
            places = [0 if move.is_identity else 1 + self._moved.index(move) for move in shown]
            rows.append(
                {
                    **{name: row[name] for name in ("image_id", "uri")},
                    "transform": transform,
                    "amounts": ", ".join(f"{move.amount:g}" for move in shown),
                    "strip": {"bytes": strip_png(frames[places]), "path": None},
                }
            )
        return rows


def strip_places(count: int) -> list[int]:
    """Which of so many steps a strip shows: the first, the last, and some between, evenly."""
    shown = min(count, STRIP_PICTURES)
    return [round(place * (count - 1) / max(1, shown - 1)) for place in range(shown)]


def strip_png(frames: Tensor) -> bytes:
    """Frames, uint8 [N, 3, S, S], side by side as a PNG of N * `STRIP_PX` by `STRIP_PX` pixels."""
    strip = Image.new("RGB", (len(frames) * STRIP_PX, STRIP_PX))
    for place, frame in enumerate(frames.permute(0, 2, 3, 1).contiguous().numpy()):
        small = Image.fromarray(frame).resize((STRIP_PX, STRIP_PX), Image.Resampling.LANCZOS)
        strip.paste(small, (place * STRIP_PX, 0))
    data = io.BytesIO()
    strip.save(data, "png", compress_level=1)
    return data.getvalue()
