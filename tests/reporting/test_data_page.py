"""The data report is one file that anyone can open: complete, escaped, without a network."""

import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding
from pipeline.data.profile.profile import profile
from pipeline.reporting.data_figures import bars, example_pictures
from pipeline.reporting.data_page import data_page
from serving.schema import Feature
from tests.data.subjects import mixed, pictures, table

EVIL = "<script>alert(1)</script>\"'&"
FINDINGS = (
    Finding(check="leak", verdict="FAIL", text=f"column {EVIL} alone", advice=f"drop {EVIL}", column=EVIL, rows=(1,)),
    Finding(check="shift", verdict="WARN", text="moved"),
    Finding(check="few_rows", verdict="PASS", text="enough rows"),
)


class Tags(HTMLParser):
    """Counts tags, and that each that opens is closed."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag not in {"meta", "img", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(subject: Subject, origin: str = "sales.csv") -> bytes:
    found = profile(subject, findings=FINDINGS, ignored={EVIL: f"an identifier {EVIL}"}, duplicates={"exact": 4}, origin=origin)
    return data_page(found, example_pictures(subject))


def test_names_values_and_findings_are_escaped_everywhere() -> None:
    inputs = np.random.default_rng(0).integers(0, 2, (60, 2)).astype(np.float32)
    features = (Feature(EVIL, 0, 1), Feature("c", 0, 2, "category", (EVIL, "x")))
    subject = table(features, inputs, np.arange(60) % 2, classes=(EVIL, "no"))
    tags = Tags(page_of(subject, EVIL))
    assert "script" not in tags.names
    assert tags.open == []
    assert tags.text.count("<script>alert(1)</script>\"'&") >= 8


@pytest.mark.parametrize("subject", [mixed(), pictures(), pictures(60, (9, 9))], ids=["table", "rgb", "gray"])
def test_the_page_is_whole_and_asks_nobody(subject: Subject) -> None:
    page = page_of(subject)
    tags = Tags(page)
    assert tags.open == []
    assert "script" not in tags.names
    assert "link" not in tags.names
    assert not re.findall(rb"https?://|url\(|src=\"(?!data:)", page)
    assert tags.names.count("svg") >= 1
    assert ("img" in tags.names) == (subject.schema.kind == "image")


def test_failures_come_first_and_what_passed_is_folded() -> None:
    text = page_of(mixed()).decode()
    places = [text.index(part) for part in ("1 FAIL", "alone", "moved", "<details>", "enough rows", "Target: y")]
    assert places == sorted(places)


def test_two_hundred_columns_take_seconds_and_less_than_two_megabytes() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(20_000, 200)).astype(np.float32)
    subject = table(
        tuple(Feature(f"column {i}", -4, 4) for i in range(200)), inputs, random.integers(0, 2, 20_000), classes=("a", "b")
    )
    started = time.perf_counter()
    page = page_of(subject)
    assert time.perf_counter() - started < 15
    assert len(page) < 2_000_000
    assert Tags(page).names.count("svg") == 200


def test_a_bar_is_as_tall_as_its_share_and_one_row_can_be_seen() -> None:
    svg = bars([100, 50, 1], [0, 0, 0], width=30, height=102)
    heights = [102 - float(y) for y in re.findall(r"V([\d.]+)h[\d.]+V102", svg)]
    assert heights == [100, 50, 1.5]
    assert "te" not in svg, "no test rows, no line"
    assert bars([], [3]) == ""


def test_three_examples_of_each_class_are_shown_small() -> None:
    found = example_pictures(pictures(80, (3, 400, 300)))
    assert list(found) == ["dark", "bright <b>"]
    assert all(png.startswith(b"\x89PNG") for png in found.values())
    assert all(len(png) < 150_000 for png in found.values())
    assert example_pictures(mixed()) == {}
