"""How a work list is cut into shards: by its length alone, never by workers or machines."""

from __future__ import annotations

from schemas.errors import SpecError
from schemas.manifest import Shard

LARGEST_DEFAULT = 4096
_DEFAULT_SHARDS = 32


def shard_plan(images: int, *, shard_size: int) -> tuple[Shard, ...]:
    """Cut ``images`` into slices of ``shard_size``, the last one shorter.

    Args:
        images: length of the image list, 0 or more.
        shard_size: images per shard, 1 or more.

    Returns:
        The shards in order, indexed from 0; none for an empty list.

    Raises:
        SpecError: a number is out of range.
    """
    if images < 0 or shard_size < 1:
        raise SpecError(
            f"{images} images in shards of {shard_size}: give images >= 0 and shard_size >= 1"
        )
    return tuple(
        Shard(index=index, start=start, stop=min(start + shard_size, images))
        for index, start in enumerate(range(0, images, shard_size))
    )


def default_shard_size(images: int, batch_size: int) -> int:
    """A 32nd of the images, in whole batches, at most 4096.

    Args:
        images: length of the image list, 0 or more.
        batch_size: images per batch, 1 or more.

    Returns:
        A multiple of ``batch_size``: at least one batch, and at most the largest multiple that is
        no more than 4096 (one batch where a batch alone is more).
    """
    wanted = -(-images // (_DEFAULT_SHARDS * batch_size))
    largest = max(1, LARGEST_DEFAULT // batch_size)
    return batch_size * min(max(1, wanted), largest)
