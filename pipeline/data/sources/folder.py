"""A folder of pictures to rows of the image list; sub-folders are classes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.data.image_rows import as_text, label_by_class, list_rows


def folder_rows(root: str, names: Sequence[str]) -> pa.Table:
    """A folder of pictures: the first part of a name with a slash is its class.

    A file whose name is not UTF-8 cannot be named by a row. Its row has the folder for container
    and no offset in it, which is a reject when it is read; another file is never read instead.

    Args:
        root: the folder, absolute.
        names: relative paths, sorted.
    """
    shown = [as_text(name) for name in names]
    heads = (name.partition("/") for name in shown)
    classes = [head if slash else None for head, slash, _ in heads]
    containers = [None if each == name else root for each, name in zip(shown, names, strict=True)]
    uris = [f"{root}/{name}" for name in shown]
    return label_by_class(list_rows(uris, class_name=classes, container=containers))
