"""The names of classes, as the scanned data set gives them."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.store.run import Run

ClassName = Callable[[int], str]
"""Names a class by its index."""


def class_names(run: Run) -> ClassName:
    """Names a class as its first image in the scan does; one without a name is "class 7".

    Raises:
        StoreError: the images' table cannot be read.
    """
    names = known_names(run)
    return lambda index: names.get(index, f"class {index}")


def known_names(run: Run) -> dict[int, str]:
    """The names of the classes that an image of the scan has a label of, by the label.

    Raises:
        StoreError: the images' table cannot be read.
    """
    images = run.table("images", job="scan", columns=["label", "class_name"]).dropna()
    first = images.drop_duplicates("label")
    return dict(zip(first["label"].astype(int).tolist(), first["class_name"], strict=True))
