"""Images: the drawing pad by mouse, finger and keyboard, and pictures as files."""

import base64
import io
import json
import shlex
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serving.browser import Browser, Page
from tests.serving.conftest import PICTURE, expected_of
from tests.serving.page.conftest import DIGITS, Address, drawings
from tests.serving.page.people import answer_of, asked, command, opened, sent_by, stroke, tab_to


def test_a_drawing_becomes_bars_with_the_models_own_answer_on_top(browser: Browser, address: Address) -> None:
    page = opened(browser, address(DIGITS))
    page.drag(stroke(page, (0.3, 0.2), (0.7, 0.2), (0.6, 0.5), (0.5, 0.9)))
    label = answer_of(page).split()[0]
    rows = np.array(sent_by(page)["inputs"], np.float32)
    assert rows.shape == (1, 8, 8)
    assert (rows.min(), rows.max()) == (0, 16)
    expected = expected_of(DIGITS, rows)[0]
    assert label == DIGITS.classes[int(expected.argmax())]
    names = page.evaluate("[...document.querySelectorAll('.bars .name')].map((e) => e.innerText)")
    assert names == [DIGITS.classes[index] for index in np.argsort(-expected)]


def test_what_is_drawn_is_averaged_over_areas_and_shown_as_it_is_sent(browser: Browser, address: Address) -> None:
    page = opened(browser, address(DIGITS))
    page.click("#fit")
    page.drag(stroke(page, (0.5, 0.06), (0.5, 0.94)))
    answer_of(page)
    row = np.array(sent_by(page)["inputs"][0])
    ink = gray_of(page, ".pad")
    cells = ink.reshape(8, len(ink) // 8, 8, len(ink) // 8).mean(axis=(1, 3))
    assert cells[:, 3:5].mean() > 0.5
    np.testing.assert_allclose(row, cells * 16, atol=0.051)  # of 16, one decimal is sent
    np.testing.assert_allclose(gray_of(page, ".seen") * 16, row, atol=0.1)


def test_a_small_drawing_in_a_corner_is_placed_and_sized_like_the_training_images(browser: Browser, address: Address) -> None:
    page = opened(browser, address(DIGITS))
    page.drag(stroke(page, (0.1, 0.1), (0.1, 0.4)))
    answer_of(page)
    row = np.array(sent_by(page)["inputs"][0])
    rows, columns = np.nonzero(row > 8)
    assert (rows.min(), rows.max()) == (1, 6), "as high as the examples"
    assert columns.mean() == pytest.approx(3.5, abs=0.3), "and in the middle"


def test_undo_takes_back_the_last_stroke_and_clear_all_of_them(browser: Browser, address: Address) -> None:
    page = opened(browser, address(DIGITS))
    page.drag(stroke(page, (0.2, 0.2), (0.2, 0.8)))
    answer_of(page)
    one = sent_by(page)
    page.drag(stroke(page, (0.6, 0.2), (0.8, 0.8)))
    page.wait(
        f"document.querySelector('#code').textContent.includes({json.dumps(json.dumps(one, separators=(',', ':')))}) === false"
    )
    page.click("#undo")
    page.wait(f"document.querySelector('#code').textContent.includes({json.dumps(json.dumps(one, separators=(',', ':')))})")
    page.click("#clear")
    page.wait("document.querySelector('#says').innerText === ''")


def test_a_finger_draws_too(browser: Browser, address: Address) -> None:
    page = opened(browser, address(DIGITS), width=360, height=740, touch=True)
    page.touch(stroke(page, (0.3, 0.3), (0.5, 0.5), (0.7, 0.7)))
    assert answer_of(page)


def test_an_example_is_sent_as_it_stands_in_the_bundle(browser: Browser, address: Address) -> None:
    page = opened(browser, address(DIGITS))
    page.click("#example")
    label = answer_of(page).split()[0]
    row = drawings()[:1]
    np.testing.assert_allclose(sent_by(page)["inputs"], row, atol=1e-6)
    assert label == DIGITS.classes[int(expected_of(DIGITS, row)[0].argmax())]


def test_a_drawing_needs_no_mouse(browser: Browser, address: Address) -> None:
    page = opened(browser, address(DIGITS))
    tab_to(page, "fit")
    page.press(" ")
    tab_to(page, "pad", back=True)
    page.press(" ")
    page.press("ArrowDown", times=4)
    page.press("ArrowRight", times=3)
    page.press(" ")
    assert answer_of(page)
    assert "Pen up" in page.text("#told")
    row = np.array(sent_by(page)["inputs"][0])  # from the middle down by a quarter, then to the right by three sixteenths
    assert row[4, 3:5].min() > 8
    assert row[5:7, 5].max() > 4
    assert row[:3].max() == row[:, :3].max() == 0
    page.evaluate("document.querySelector('#pad').focus()")
    page.press("Delete")
    page.wait("document.querySelector('#says').innerText === ''")


def test_a_picture_is_sent_as_the_file_that_it_is(browser: Browser, address: Address) -> None:
    url = address(PICTURE)
    page = opened(browser, url)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(buffer, "PNG")
    dropped = base64.b64encode(buffer.getvalue()).decode()
    page.evaluate(
        f"(async () => {{ const bytes = Uint8Array.from(atob('{dropped}'), (c) => c.charCodeAt(0));"
        "const data = new DataTransfer(); data.items.add(new File([bytes], \"it's.png\", { type: 'image/png' }));"
        "const dropped = new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });"
        "document.querySelector('.drop').dispatchEvent(dropped); })()"
    )
    label = answer_of(page).split()[0]
    assert label == asked(url, buffer.getvalue(), "image/png")["predictions"][0]["label"]
    assert page.evaluate("document.querySelector('.shown').width") == 60
    words = shlex.split(command(page, "curl").replace("\\\n", " "))
    assert words[words.index("--data-binary") + 1] == "@it's.png"


def gray_of(page: Page, canvas: str) -> Any:
    """Return (height, width) from 0 to 1: what a canvas shows."""
    width, values = page.evaluate(
        f"(() => {{ const c = document.querySelector('{canvas}'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        "return [c.width, [...d.data].filter((_, i) => i % 4 === 0)]; })()"
    )
    return np.array(values).reshape(-1, width) / 255
