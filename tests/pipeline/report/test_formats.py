from __future__ import annotations

import pytest

from pipeline.report.formats import counted, few, percent, three_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12.3456, "12.3"), (1234.5, "1,230"), (-0.00012345, "-0.000123")],
)
def test_three_digits_are_significant(value: float, text: str):
    assert three_digits(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (1.0, "100%"), (0.25, "25.0%"), (0.00001, "< 0.1%"), (0.99999, "> 99.9%")],
)
def test_percent_is_never_rounded_to_none_or_all(share: float, text: str):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 images"), (1, "1 image"), (1204, "1,204 images")]
)
def test_counted_is_one_or_many(count: int, text: str):
    assert counted(count, "image") == text


def test_few_says_that_there_are_more():
    assert few([3, 4]) == "3, 4"
    assert few(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"
    assert few(range(13)) == f"{few(range(12))} ..."
