"""What a person does with the page, and what they see."""

import json
import shlex
import urllib.request
from typing import Any

import pytest

from tests.serving.browser import Browser, Page


def opened(browser: Browser, url: str, **options: Any) -> Page:
    """Open the page and wait until it can be asked."""
    page = browser.page(**options)
    page.open(url)
    page.wait("!document.querySelector('#ask').hidden && document.querySelector('#state').dataset.state === 'ready'")
    return page


def asked(url: str, body: bytes, content_type: str = "application/json") -> dict[str, Any]:
    request = urllib.request.Request(url + "predict", data=body, headers={"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=10) as reply:
        answer: dict[str, Any] = json.load(reply)
        return answer


def answer_of(page: Page) -> str:
    page.wait("document.querySelector('#says').innerText && !document.querySelector('#answer').hasAttribute('aria-busy')")
    return page.text("#says")


def command(page: Page, language: str) -> str:
    page.evaluate("document.querySelector('#same').open = true")
    page.click(f"#tab-{language}")
    page.wait("document.querySelector('#code').textContent")
    return str(page.evaluate("document.querySelector('#code').textContent"))


def sent_by(page: Page) -> dict[str, Any]:
    """The body that the page says it has sent, read back out of its curl line as a shell reads it."""
    words = shlex.split(command(page, "curl").replace("\\\n", " "))
    body: dict[str, Any] = json.loads(words[words.index("--data-raw") + 1])
    return body


def stroke(page: Page, *shares: tuple[float, float]) -> list[tuple[float, float]]:
    """Points on the pad, given as shares of its width and height."""
    left, top, width, height = page.box("#pad")
    return [(left + x * width, top + y * height) for x, y in shares]


def tab_to(page: Page, wanted: str, *, back: bool = False) -> None:
    """Press Tab until an element has the focus, as somebody without a mouse does."""
    for _ in range(40):
        if page.evaluate("document.activeElement.id") == wanted:
            return
        page.press("Tab", shift=back)
    pytest.fail(f"no number of Tabs leads to {wanted}")


def choose_else(page: Page, field: str) -> None:
    """Choose the last entry of a list of categories: something else."""
    page.evaluate(
        f"(() => {{ const list = document.querySelector('{field}'); list.selectedIndex = list.options.length - 1;"
        "list.dispatchEvent(new Event('change')); })()"
    )
