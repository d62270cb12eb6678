"""What people see, on any screen: nothing sticks out, everything can be read, and text is text."""

import json
from pathlib import Path

import msgspec
import pytest

from serving.app import create_app
from serving.bundle import Bundle
from serving.schema import Schema
from tests.serving.browser import Browser
from tests.serving.conftest import MESSY, PICTURE, TABLE, make_bundle
from tests.serving.page.conftest import DIGITS, Address, served
from tests.serving.page.people import answer_of, asked, command, opened, sent_by

MANY = msgspec.structs.replace(TABLE, classes=tuple(f"class {index}" for index in range(14)))
LABELS = msgspec.structs.replace(TABLE, task="multilabel", classes=("red", "green", "blue"))

# WCAG 2.2, 1.4.3: 4.5 to 1, or 3 to 1 for large text, against the nearest ground that is painted.
CONTRAST = r"""(() => {
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (text) => {
    const [r, g, b] = parse(text).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const passed = '[aria-hidden=true], .unseen, :disabled, noscript, option';
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
  let seen = 0;
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.data.trim() || !element.checkVisibility() || element.closest(passed)) continue;
    let ground = element;
    while (ground !== document.body && parse(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const [a, b] = [light(style.color), light(getComputedStyle(ground).backgroundColor)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(style.fontSize);
    seen++;
    if (ratio < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) faint.push([node.data, ratio]);
  }
  return [seen, faint];
})()"""


def test_more_than_ten_classes_are_folded_and_labels_are_named(browser: Browser, address: Address) -> None:
    page = opened(browser, address(MANY))
    page.click("#predict")
    answer_of(page)
    assert page.evaluate("document.querySelectorAll('#result > div > .bars > li').length") == 10
    assert page.text("#result summary") == "4 more"
    url = address(LABELS)
    page = opened(browser, url)
    page.click("#predict")
    shown = answer_of(page).split()
    assert shown == (asked(url, json.dumps(sent_by(page)).encode())["predictions"][0]["labels"] or ["no", "label"])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("schema", [DIGITS, MESSY, PICTURE], ids=["drawing", "table", "picture"])
def test_nothing_sticks_out_complains_or_leaves_the_host(
    browser: Browser, address: Address, schema: Schema, width: int, dark: bool
) -> None:
    url = address(schema)
    page = opened(browser, url, width=width, height=740, dark=dark, touch=width < 500)
    if schema is MESSY:
        page.click("#csv")
        page.click("#csv-predict")
        answer_of(page)
    elif schema is DIGITS:
        page.click("#example")
        answer_of(page)
        command(page, "curl")
    scroll, client = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert scroll <= client == width
    lightness = page.evaluate("Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number))")
    assert (lightness < 64) is dark
    assert page.complaints == []
    assert len(page.requests) > 5
    # `data:` are Chromium's own icons, such as that of a date field.
    assert [asked for asked in page.requests if not asked.startswith((url, "data:"))] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("schema", [DIGITS, MESSY], ids=["drawing", "table"])
def test_every_text_has_contrast_and_every_control_a_name(
    browser: Browser, address: Address, schema: Schema, dark: bool
) -> None:
    page = opened(browser, address(schema), dark=dark)
    page.click("#example")
    if schema is MESSY:
        page.click("#predict")
    answer_of(page)
    command(page, "curl")
    seen, faint = page.evaluate(CONTRAST)
    assert seen > 40
    assert faint == []
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    wanted = {
        "button",
        "textbox",
        "combobox",
        "spinbutton",
        "slider",
        "checkbox",
        "radio",
        "tab",
        "link",
        "application",
        "image",
        "Date",
    }
    controls = [node for node in tree if not node["ignored"] and node["role"]["value"] in wanted]
    assert len(controls) > 10
    assert [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")] == []


def test_hostile_names_are_text_and_nothing_else(browser: Browser, tmp_path: Path) -> None:
    evil = '<img src=x onerror=alert(1)>"'
    fields = {name: getattr(TABLE, name) for name in TABLE.__struct_fields__}
    schema = Schema(**fields | {"classes": (evil, "</script><script>alert(1)</script>"), "target": evil})
    with served(create_app(Bundle(make_bundle(tmp_path / "bundle", schema)))) as url:
        page = opened(browser, url)
        page.click("#predict")
        answer_of(page)
        assert evil in page.evaluate("[...document.querySelectorAll('.bars .name')].map((e) => e.innerText)")
        assert page.evaluate("document.querySelectorAll('img, main script').length") == 0
        assert page.complaints == []
