from __future__ import annotations

import math
from dataclasses import replace

from pipeline.report.sections.invariance.captions import by_transform, sentences
from pipeline.report.sections.invariance.reader import Area

FIRST = Area("rotation", "conv1", 5, 35, 0.9, 0.8, 1.0, 0.75, 0.25, 0.5)
TOP = replace(FIRST, layer="fc7", area_mean=0.6)


def _moved(area: Area, area_mean: float, p_moved: float) -> Area:
    return replace(area, transform="translation", area_mean=area_mean, p_moved=p_moved)


def test_sentences_say_that_the_top_layer_varies_less_and_what_hurts_most():
    layers, harm = sentences([FIRST, TOP, _moved(FIRST, 0.7, 0.5), _moved(TOP, 0.5, 0.5)])

    assert layers == (
        "The top layer, fc7, varies less than the first, conv1, under translation and rotation "
        "(invariance area translation 0.50 against 0.70; rotation 0.60 against 0.90)."
    )
    assert harm == (
        "Rotation hurts most: the class's probability is 0.75 for the plain picture, and on the "
        "mean over 5 images and the amounts that move it: rotation 0.25, another class in 50.0%; "
        "translation 0.50, another class in 50.0%."
    )


def test_sentences_say_where_the_top_layer_does_not_vary_less():
    some = sentences([FIRST, TOP, _moved(FIRST, 0.7, 0.5), _moved(TOP, 0.8, 0.5)])
    none = sentences([FIRST, replace(TOP, area_mean=0.9)])

    assert "varies less than the first, conv1, under rotation, not under translation" in some[0]
    assert "varies no less than the first, conv1, under rotation" in none[0]


def test_sentences_of_one_layer_or_of_no_harm_claim_nothing_more():
    alone = sentences([FIRST])
    harmless = sentences([replace(FIRST, p_moved=0.8)])
    silent = sentences([replace(FIRST, area_mean=math.nan), TOP])

    assert len(alone) == 1
    assert alone[0].startswith("It falls: ")
    assert harmless[0].startswith("No move hurts: ")
    assert len(silent) == 1


def test_by_transform_keeps_the_order_of_the_paper():
    found = by_transform([FIRST, TOP, _moved(FIRST, 0.7, 0.5)])

    assert list(found) == ["translation", "rotation"]
    assert found["rotation"] == [FIRST, TOP]
