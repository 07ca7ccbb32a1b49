"""Rows of the image list have its schema, and labels follow the sorted class names."""

from __future__ import annotations

import pyarrow as pa
import pytest
from PIL import Image

from pipeline.data.decode import FORMATS
from pipeline.data.image_rows import (
    PICTURE_EXTENSIONS,
    label_by_class,
    list_rows,
    number_rows,
)
from schemas.errors import DatasetError
from schemas.tables import IMAGE_LIST


def test_list_rows_fills_what_is_not_given_with_null():
    rows = number_rows(list_rows(["a", "b"], label=[3, None], offset=pa.array([0, 1])))

    assert rows.schema.equals(IMAGE_LIST.schema, check_metadata=True)
    assert rows.to_pylist()[1] == {
        "image_id": 1,
        "uri": "b",
        "label": None,
        "class_name": None,
        "container": None,
        "offset": 1,
        "length": None,
    }


def test_list_rows_of_a_name_that_is_not_utf8_names_it():
    with pytest.raises(DatasetError, match=r"bad\\udcff.jpg.*rename"):
        list_rows(["bad\udcff.jpg"])


def test_label_by_class_leaves_given_labels_alone():
    rows = list_rows(["a", "b"], label=[7, None], class_name=["x", "y"])

    assert label_by_class(rows)["label"].to_pylist() == [7, None]


def test_picture_extensions_cover_every_format_that_is_read():
    readable = {ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS}

    assert readable >= PICTURE_EXTENSIONS
    assert set(FORMATS) == {"BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"}
