"""The invariance of one shard of images: every move of each, through the network.

The moves of an image share forward passes with each other alone, always in the same places of
passes of one shape: its rows depend on nothing but the picture and the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from pipeline.stages.stored_pictures import encode_png
from schemas.arrays import Floats
from schemas.jobs.invariance import MOVED_PICTURES, RESPONSES, InvarianceSpec
from schemas.moves import TRANSFORMS, Move, Transform
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
        filled: of each row, the share of the frame that is fill.
        shown: the frames that strips show, uint8 [3, S, S], by row.
    """

    scores: Tensor
    distance: dict[str, Floats]
    norm: dict[str, float]
    filled: list[float]
    shown: dict[int, Tensor]


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
        """Compile the run that taps the layers, and number the frames of an image."""
        self._layers = {name: network.layer(name) for name in self.layers}
        self._run = network.runner(self.layers)
        moves = self.spec.moves
        # Row 0 is the plain frame, whichever moves leave the picture where it is.
        self._moved = [move for move in moves if not move.is_identity]
        self._row = dict.fromkeys(moves, 0) | {m: 1 + n for n, m in enumerate(self._moved)}
        self._strips = {name: shown for name in TRANSFORMS if (shown := _in_strip(moves, name))}
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
            with torch.inference_mode():
                responses = self._respond(plain, picture)
            found["responses"] += self._rows(row, responses)
            found["pictures"] += self._strip_rows(row, responses.shown)
        return {
            name: pa.Table.from_pylist(own, schema=self.parts[name].schema)
            for name, own in found.items()
        }

    def _frame(self, row: int, plain: Tensor, picture: MovedPicture) -> tuple[Tensor, float]:
        """One frame of an image, and its share of fill."""
        if row == 0:
            return plain, picture.frame(Move("translation", 0.0))[1]
        frame, filled = picture.frame(self._moved[row - 1])
        return frame.cpu(), filled

    def _respond(self, plain: Tensor, picture: MovedPicture) -> _Responses:
        """Run the frames of one image, in passes of one size; those of a pass are in memory."""
        wanted = {self._row[move] for moves in self._strips.values() for move in moves}
        scores: list[Tensor] = []
        filled: list[float] = []
        shown: dict[int, Tensor] = {}
        origin: dict[str, Tensor] = {}
        found: dict[str, list[Tensor]] = {name: [] for name in self.layers}
        rows = range(1 + len(self._moved))
        for start in range(0, len(rows), self._at_once):
            own = {r: self._frame(r, plain, picture) for r in rows[start : start + self._at_once]}
            filled += [share for _, share in own.values()]
            shown |= {row: frame for row, (frame, _) in own.items() if row in wanted}
            frames = [frame for frame, _ in own.values()]
            frames += [plain] * (self._at_once - len(own))

            def tap(name: str, value: Tensor, count: int = len(own)) -> None:
                maps = self._layers[name].maps(value)
                if name not in origin:
                    origin[name] = maps[0].double()
                found[name].append(distances(maps[:count], origin[name]))

            scores.append(self._run(self.images(torch.stack(frames)), tap)[: len(own)])
        return _Responses(
            torch.cat(scores),
            {name: torch.cat(each).cpu().numpy() for name, each in found.items()},
            {name: float(torch.linalg.vector_norm(each)) for name, each in origin.items()},
            filled,
            shown,
        )

    def _rows(self, row: dict[str, Any], responses: _Responses) -> list[dict[str, Any]]:
        """Rows of invariance/responses for one image."""
        p = responses.scores.double().softmax(dim=1).cpu().numpy()
        target = int(explained_classes(responses.scores[:1], [row["label"]], self.spec.target))
        shares = {
            name: relative(distance, responses.norm[name])
            for name, distance in responses.distance.items()
        }
        rows = []
        for move in self.spec.moves:
            place = self._row[move]
            about = {
                **{name: row[name] for name in ("image_id", "uri")},
                **move._asdict(),
                "target": target,
                "p_plain": float(p[0, target]),
                "p_target": float(p[place, target]),
                "predicted_plain": int(p[0].argmax()),
                "predicted": int(p[place].argmax()),
                "filled_share": responses.filled[place],
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

    def _strip_rows(self, row: dict[str, Any], shown: dict[int, Tensor]) -> list[dict[str, Any]]:
        """Rows of invariance/pictures for one image."""
        return [
            {
                **{name: row[name] for name in ("image_id", "uri")},
                "transform": transform,
                "amounts": ", ".join(f"{move.amount:g}" for move in moves),
                "strip": {
                    "bytes": strip_png(torch.stack([shown[self._row[move]] for move in moves])),
                    "path": None,
                },
            }
            for transform, moves in self._strips.items()
        ]


def _in_strip(moves: Sequence[Move], transform: Transform) -> list[Move]:
    """The moves that a transform's strip shows; none where it has none."""
    own = [move for move in moves if move.transform == transform]
    return [own[place] for place in strip_places(len(own))]


def strip_places(count: int) -> list[int]:
    """Which of so many steps a strip shows: the first, the last, and some between, evenly."""
    shown = min(count, STRIP_PICTURES)
    return [round(place * (count - 1) / max(1, shown - 1)) for place in range(shown)]


def strip_png(frames: Tensor) -> bytes:
    """Frames, uint8 [N, 3, S, S], side by side as a PNG of N * `STRIP_PX` by `STRIP_PX` pixels."""
    small = [
        np.asarray(Image.fromarray(frame).resize((STRIP_PX, STRIP_PX), Image.Resampling.LANCZOS))
        for frame in frames.permute(0, 2, 3, 1).contiguous().numpy()
    ]
    return encode_png(np.concatenate(small, axis=1))
