from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser

import pytest

from pipeline.report.contact_sheet import SheetShape
from pipeline.report.overview import Overview, overview_html
from pipeline.report.render import fragment, static_files
from pipeline.report.section import NotePicture, Summary, UnitNote
from pipeline.report.sections.units.classes import ClassBar, UnitClasses
from pipeline.report.sections.units.histogram import Histogram
from pipeline.report.sections.units.page_data import (
    LayerFacts,
    LayerPage,
    PatchDetail,
    UnitCard,
    UnitDetail,
)
from pipeline.report.sections.units.pages import details_js, layer_html
from pipeline.report.sections.units.summary import LayerStrip, summary

PAYLOADS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>",
    "' autofocus onfocus='alert(1)", "</title><script>1</script>", "--><script>1</script><!--",
    "{{ 7 * 7 }}", "{% raw %}", "&lt;b&gt;", "</script><script>1", "javascript:alert(1)",
    "\u202egnp.exe", "\x00\x01\x1b[31m", "\u2028\u2029", "]]>", "`${alert(1)}`", "%00%3Cscript%3E",
    "<!DOCTYPE html><html><body onload=1>", "</textarea><iframe src=//x>", "</dialog><b>",
)  # fmt: skip
FACTS = LayerFacts(
    "conv1", "layers/a.html", "layers/a.js", "sheets/a", "relu", 2, 1, "5%", "8 x 8", "2 x 2 px",
    "9 x 9 px", ("a note",),
)  # fmt: skip
CARDS = (
    UnitCard(0, "12", "5%", 12.0, 0.05, False, "sheets/a/00000.webp", 9, 0.5),
    UnitCard(1, "", "0%", -1e39, 0.0, True, None, 0, -1.0),
)
SHAPE = SheetShape(64, paired=True)
LAYER = LayerPage(FACTS, SHAPE, CARDS, FACTS, FACTS, "unitscope project r")
COMMAND = "unitscope project r"
STRIP = LayerStrip(FACTS, SHAPE, CARDS[:1])
UNPROJECTED = LayerStrip(FACTS, SheetShape(64, paired=False), ())
OVERVIEW = Overview("net", "runs/a", (("images", "40"),), (summary([STRIP, UNPROJECTED], COMMAND),))


class Outline(HTMLParser):
    """The elements of a page with their attributes' names, and its text.

    Places where a long name may break depend on the name, and are left out.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if (tag, attrs) != ("wbr", []):
            self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("payload", PAYLOADS)
def test_pages_any_text_stays_text(payload: str):
    facts = replace(FACTS, name=payload, kind=payload, field=payload, notes=(payload,))
    cards = (replace(CARDS[0], maximum=payload, share=payload), CARDS[1])
    layer = LayerPage(facts, SHAPE, cards, facts, facts, payload)
    strips = [LayerStrip(facts, SHAPE, CARDS[:1]), LayerStrip(facts, UNPROJECTED.shape, ())]
    overview = Overview(payload, payload, ((payload, payload),), (summary(strips, payload),))
    for naughty, plain in (
        (layer_html(layer), layer_html(LAYER)),
        (overview_html(overview), overview_html(OVERVIEW)),
    ):
        outline = Outline(naughty)
        assert outline.elements == Outline(plain).elements
        assert payload.replace("\x00", "\ufffd") in outline.text.replace("\x00", "\ufffd")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_details_js_is_one_call_with_json_that_could_stand_in_a_page(payload: str):
    patch = PatchDetail(payload, payload, payload, payload)
    histogram = Histogram("M0 0", ((1.0, payload),), 3)
    classes = UnitClasses((ClassBar(payload, "9", 100.0),), payload, 1.0)
    note = UnitNote(payload, payload, (NotePicture(payload, 1, 1, payload, payload),), payload)
    detail = UnitDetail("1", "2", "3", "4", "5", "", histogram, (patch,), classes, (note,))
    script = details_js([detail])
    body = script.removeprefix("unitscopeDetails(").removesuffix(");\n")
    assert len(body) == len(script) - len("unitscopeDetails();\n")
    assert script.isascii()
    assert not set(body) & set("<>&'")
    [read] = json.loads(body)
    assert read["patches"] == [
        {"value": payload, "class_name": payload, "image": payload, "box": payload}
    ]
    assert read["histogram"]["ticks"] == [[1.0, payload]]
    assert (read["classes"]["words"], read["classes"]["bars"][0]["name"]) == (payload, payload)
    assert read["notes"][0] == asdict(note) | {"pictures": [asdict(note.pictures[0])]}


@pytest.mark.parametrize("page", [layer_html(LAYER), overview_html(OVERVIEW)])
def test_pages_forbid_and_hold_no_inline_script_or_style(page: str):
    outline = Outline(page)
    policies = [value for tag, name, value in outline.values if tag == "meta" and "src" in value]
    assert [policy.split("; ") for policy in policies] == [
        [
            "default-src 'none'",
            "img-src 'self'",
            "style-src 'self'",
            "script-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    ]
    for tag, names in outline.elements:
        assert tag not in ("style", "iframe", "object", "base")
        assert "style" not in names
        assert not any(name.startswith("on") for name in names)
        assert tag != "script" or "src" in names
    links = [value for _, name, value in outline.values if name in ("src", "href")]
    assert not any("//" in link for link in links), "a page refers to nothing outside the gallery"


def test_layer_html_gives_every_unit_a_card_with_its_anchor_and_a_lazy_sheet_of_fixed_size():
    outline = Outline(layer_html(LAYER))
    assert [value for tag, name, value in outline.values if (tag, name) == ("article", "id")] == [
        "unit-0",
        "unit-1",
    ]
    images = {name: value for tag, name, value in outline.values if tag == "img"}
    assert images["src"] == "../sheets/a/00000.webp"
    assert (images["width"], images["height"]) == (str(SHAPE.width), str(SHAPE.height))
    assert images["loading"] == "lazy"
    assert "dead" in outline.text
    assert "unitscope project r" in outline.text


def test_pages_break_long_names_after_dots_and_underscores_only_and_escaped():
    facts = replace(FACTS, name="a.b_c<d>.e")
    page = layer_html(LayerPage(facts, SHAPE, CARDS, None, None, ""))
    assert "<h1>a.<wbr>b_<wbr>c&lt;d&gt;.<wbr>e</h1>" in page
    assert "<title>a.b_c&lt;d&gt;.e - unitscope</title>" in page


@pytest.mark.parametrize("paired", [True, False])
def test_pages_say_what_the_pictures_show(paired: bool):
    shape = SheetShape(64, paired=paired)
    layer = layer_html(LayerPage(FACTS, shape, CARDS, None, None, ""))
    strips = [LayerStrip(FACTS, shape, CARDS[:1])]
    page = overview_html(replace(OVERVIEW, sections=(summary(strips, ""),)))
    assert ["Left, projections" in text for text in (layer, page)] == [paired] * 2
    assert all("the strongest first" in text and "Hatched lies" in text for text in (layer, page))


def test_overview_html_links_layers_and_units():
    outline = Outline(overview_html(replace(OVERVIEW, sections=(summary([STRIP], ""),))))
    links = [value for tag, name, value in outline.values if (tag, name) == ("a", "href")]
    assert links == ["layers/a.html", "layers/a.html#unit-0"]
    for words in ("net", "runs/a", "conv1", "relu", "8 x 8", "9 x 9 px", "5%", "a note"):
        assert words in outline.text


@pytest.mark.parametrize("payload", PAYLOADS)
def test_overview_html_words_of_a_section_stay_text_unless_a_template_made_them(payload: str):
    made = fragment("units/parts.html.j2", "hint", payload)
    section = Summary("", links=((payload, payload),), hint=made, legend=payload, body=payload)
    plain = Summary("", links=(("a", "a"),), hint=made, legend="a", body="a")
    pages = [overview_html(replace(OVERVIEW, sections=(own,))) for own in (section, plain)]
    naughty, harmless = map(Outline, pages)
    assert naughty.elements == harmless.elements
    assert naughty.text.count(payload) == 4 or not payload.isprintable()


def test_pages_are_the_same_twice():
    assert layer_html(LAYER) == layer_html(LAYER)


def test_static_files_are_there_and_name_no_other_place():
    files = static_files()
    assert files.keys() >= {"gallery.css", "gallery.js", "icon.svg", "occlusion.css"}
    for content in files.values():
        assert set(re.findall(rb"https?://[^\"' ]+", content)) <= {b"http://www.w3.org/2000/svg"}
