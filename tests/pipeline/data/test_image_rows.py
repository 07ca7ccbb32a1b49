"""Rows of the image list have its schema, and labels follow the sorted class names."""

from __future__ import annotations

import pyarrow as pa
import pytest
from PIL import Image

from pipeline.data.decode import FORMATS
from pipeline.data.image_rows import (
    PICTURE_EXTENSIONS,
    folder_rows,
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


def test_folder_rows_of_a_name_that_is_not_utf8_has_no_place_to_read():
    rows = folder_rows("/r", ["caf\udce9/a.jpg", "caf\\xe9/a.jpg", "café/a.jpg"]).to_pydict()

    assert rows["uri"] == ["/r/caf\\xe9/a.jpg", "/r/caf\\xe9/a.jpg", "/r/café/a.jpg"]
    assert rows["container"] == ["/r", None, None]
    assert rows["offset"] == [None] * 3


def test_folder_rows_label_by_the_first_folder_in_code_point_order():
    names = ["Zebra/a.jpg", "ape/x/b.jpg", "loose.jpg", "äpe/c.jpg"]

    rows = folder_rows("/r", names).to_pydict()

    assert rows["uri"] == [f"/r/{name}" for name in names]
    assert rows["class_name"] == ["Zebra", "ape", None, "äpe"]
    assert rows["label"] == [0, 1, None, 2]


def test_folder_rows_of_a_flat_folder_have_no_label():
    rows = folder_rows("/r", ["a.jpg", "b.jpg"])

    assert rows["label"].null_count == rows["class_name"].null_count == 2


def test_label_by_class_leaves_given_labels_alone():
    rows = list_rows(["a", "b"], label=[7, None], class_name=["x", "y"])

    assert label_by_class(rows)["label"].to_pylist() == [7, None]


def test_picture_extensions_cover_every_format_that_is_read():
    readable = {ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS}

    assert readable >= PICTURE_EXTENSIONS
    assert set(FORMATS) == {"BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"}
