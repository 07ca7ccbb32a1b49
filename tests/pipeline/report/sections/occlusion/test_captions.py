from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.report.sections.occlusion.captions import (
    Spot,
    activity_scale,
    best_window,
    class_keys,
    hexadecimal,
    image_facts,
    map_note,
    p_scale,
    projected_words,
    spot,
    window_facts,
    window_title,
)
from pipeline.report.sections.occlusion.heatmaps import OTHERS, PALETTE, colour_classes
from pipeline.report.sections.occlusion.reader import Evidence
from tests.occluded import IMAGE, WINDOW, P


def _name(index: int) -> str:
    return {3: "dog", 9: "cat"}.get(index, f"class {index}")


def test_image_facts_name_target_and_prediction():
    facts = dict(image_facts(IMAGE, _name))
    assert (facts["target"], facts["most probable"]) == ("cat, p 0.75", "dog, p 0.2")
    assert (facts["file"], facts["image"], facts["window filled with"]) == ("a.png", "12", "grey")


def test_window_facts_say_how_far_where_and_how_much():
    facts = [f"{name}: {words}" for name, words in window_facts(IMAGE, WINDOW)]
    assert window_title(WINDOW) == "Window 16 x 8 px, step 4 px"
    assert facts == [
        "largest drop of p: 0.5, from 0.75 to 0.25; window at y 4 to 19, x 8 to 15",
        "p falls to half or less: on 12.5% of the pixels, by the mean over the windows on each",
        "another class most probable: at 1 of 4 positions (25.0%)",
    ]


@pytest.mark.parametrize(("pointed", "word"), [(True, "inside"), (False, "outside")])
def test_window_facts_know_the_box_where_there_is_one(pointed: bool, word: str):
    facts = dict(window_facts(IMAGE, replace(WINDOW, drop_inside=0.625, pointed=pointed)))
    assert facts["in the object's box"] == "62.5% of the drop"
    assert facts["pointing"] == f"the window of the largest drop is centred {word} the box"


def test_window_facts_p_that_never_falls_is_said():
    [(_, words), *_] = window_facts(IMAGE, replace(WINDOW, largest_drop=-0.1))
    assert words.startswith("none: p is nowhere below the clean 0.75")


def test_spot_and_best_window():
    assert spot(WINDOW) == Spot(4, 8, 16, 8)
    deeper = replace(WINDOW, window=1, largest_drop=0.6)
    assert best_window(replace(IMAGE, windows=(WINDOW, deeper))) is deeper
    assert best_window(replace(IMAGE, windows=(WINDOW, replace(WINDOW, window=1)))) is WINDOW


def test_p_scale_begins_at_0_and_marks_the_clean_p():
    scale = p_scale(IMAGE, WINDOW)
    assert scale.bounds == (0.0, 1.0)
    assert (scale.low, scale.clean, scale.high, scale.mark) == ("0", "0.75", "1", 75.0)
    low = p_scale(IMAGE, replace(WINDOW, p=P * np.float32(0.25)))
    assert (low.bounds, low.mark) == ((0.0, 0.75), 100.0), "the clean p is on the bar"


def test_activity_scale_is_the_map_s_own_range():
    scale = activity_scale(IMAGE, WINDOW)
    assert (scale.low, scale.high, scale.clean) == ("25", "100", "50")
    assert scale.mark == 33.33


def test_scale_of_nothing_but_nan_still_has_a_mark():
    nothing = np.full_like(P, np.nan)
    scale = activity_scale(replace(IMAGE, activity=float("nan")), replace(WINDOW, activity=nothing))
    assert (scale.bounds, scale.mark) == ((0.0, 0.0), 0.0)


def test_class_keys_most_frequent_first_with_shares_and_roles():
    keys = class_keys(IMAGE, WINDOW, colour_classes([WINDOW.predicted]), _name)
    assert [(key.name, key.share, key.role) for key in keys] == [
        ("dog", "75.0%", "clean image"),
        ("cat", "25.0%", "target"),
    ]
    assert [key.colour for key in keys] == [hexadecimal(colour) for colour in PALETTE[:2]]


def test_class_keys_beyond_the_palette_are_counted_in_one():
    predicted = np.arange(20, dtype=np.int32).reshape(4, 5)
    predicted[0, 0] = 1
    window = replace(WINDOW, predicted=predicted)
    keys = class_keys(IMAGE, window, colour_classes([predicted]), _name)
    assert len(keys) == len(PALETTE) + 1
    assert (keys[-1].name, keys[-1].colour) == ("other classes (11)", hexadecimal(OTHERS))
    assert (keys[0].share, keys[-1].share) == ("10.0%", "55.0%")


def test_class_keys_name_only_what_comes_under_this_window():
    other = np.full((2, 2), 77, np.int32)
    keys = class_keys(IMAGE, WINDOW, colour_classes([WINDOW.predicted, other]), _name)
    assert [key.name for key in keys] == ["dog", "cat"]


@pytest.mark.parametrize(
    ("missing", "scanned", "note"),
    [
        ("", True, ""),
        ("act is gelu", True, "There is no projection of this image: act is gelu."),
        ("", False, "The scan did not take this layer, so there are no top patches of this map."),
    ],
)
def test_map_note_says_what_is_missing_and_why(missing: str, scanned: bool, note: str):
    evidence = Evidence((), None, scanned=scanned)
    own = replace(IMAGE.projection, missing=missing)
    assert map_note(replace(IMAGE, projection=own, evidence=evidence)) == note


def test_map_note_names_both_that_are_missing():
    assert map_note(IMAGE).startswith("There is no projection of this image: not made. The scan")


@pytest.mark.parametrize(
    ("activity", "words"),
    [(50.0, "of its largest activation, 5, 10.0% of the map's sum"),
     (0.0, "of its largest activation, 5"), (float("nan"), "of its largest activation, 5")],
)  # fmt: skip
def test_projected_words_tell_the_activation_and_its_share(activity: float, words: str):
    assert projected_words(replace(IMAGE, activity=activity)) == words


def test_hexadecimal_has_two_digits_a_colour():
    assert hexadecimal((0, 10, 255)) == "#000aff"
