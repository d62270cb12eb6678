"""A headless Chromium, driven through its DevTools protocol over two pipes: no package, no port, no network.

    with Browser() as browser:
        page = browser.page(width=360, height=740, dark=True)
        page.open("http://127.0.0.1:8080/")
        page.wait("document.querySelector('h1').textContent === 'digits'")
        assert page.evaluate("scrollX") == 0

https://chromedevtools.github.io/devtools-protocol/: messages are JSON, ended by a zero byte.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LIMIT_S = 20  # a hang must fail the test and not the suite
_POLL_S = 0.02
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers, and the only page is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)


class Browser:
    """A browser process."""

    def __init__(self) -> None:
        assert CHROMIUM is not None, "no Chromium here; tests that need one are skipped before"
        self._folder = tempfile.TemporaryDirectory(prefix="slipway-chromium-", ignore_cleanup_errors=True)
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        flags = [*_FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"]
        self._pid = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *flags],
            {**os.environ, "HOME": self._folder.name},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, theirs_in, 3),  # where it reads commands
                (os.POSIX_SPAWN_DUP2, theirs_out, 4),  # where it writes answers
            ],
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest = b""
        self._number = 0
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            self.call("Browser.close")
        os.close(self._out)
        os.close(self._in)
        os.waitpid(self._pid, 0)
        self._folder.cleanup()

    def page(self, *, width: int = 1280, height: int = 900, dark: bool = False, touch: bool = False) -> "Page":
        """Open an empty page in a profile of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, context)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        page.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        )
        page.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        return page

    def close_pages(self) -> None:
        """Close every page, with what it has stored."""
        while self._pages:
            _, page = self._pages.popitem()
            self.call("Target.disposeBrowserContext", browserContextId=page.context)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come in between go to their pages."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        payload = json.dumps(message).encode() + b"\0"
        while payload:
            payload = payload[os.write(self._out, payload) :]
        deadline = time.monotonic() + LIMIT_S
        while True:
            found = self._receive(deadline)
            if found.get("id") == number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                result: dict[str, Any] = found["result"]
                return result

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"the browser said nothing for {LIMIT_S} s")
            chunk = os.read(self._in, 1 << 16)
            if not chunk:
                raise EOFError("the browser ended")
            self._rest += chunk
        text, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        if page := self._pages.get(message.get("sessionId", "")):
            page.hear(message)
        return message


class Page:
    """One page; `requests` are the addresses that it asked for, `complaints` its errors and warnings."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser, self._session, self.context = browser, session, context
        self.url = "about:blank"
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def hear(self, message: dict[str, Any]) -> None:
        """Take an event."""
        parameters = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                self.complaints.append(details.get("exception", {}).get("description", details["text"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in {"error", "warning", "assert"}:
                self.complaints.append(str(parameters["args"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command for this page."""
        return self._browser.call(method, self._session, **parameters)

    def open(self, url: str) -> None:
        """Go to an address and wait until it is loaded."""
        self.url = url
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']['exception'].get('description')}")
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true; fail with what the page shows when it does not become so."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeError):  # an element that is not there yet
                if self.evaluate(f"Boolean({expression})"):
                    return
            time.sleep(_POLL_S)
        shown = self.evaluate("document.body.innerText")
        raise AssertionError(f"never true: {expression}\ncomplaints: {self.complaints}\nthe page shows:\n{shown}")

    def text(self, selector: str) -> str:
        """Return the text of the first element."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Scroll an element into view and return left, top, width and height of its box."""
        left, top, width, height = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); "
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        return left, top, width, height

    def click(self, selector: str) -> None:
        """Press and release the mouse on an element."""
        left, top, width, height = self.box(selector)
        self.drag([(left + width / 2, top + height / 2)])

    def drag(self, points: list[tuple[float, float]]) -> None:
        """Press the mouse at the first point, move it along the others, and release it."""
        for kind, (x, y) in [
            ("mousePressed", points[0]),
            *(("mouseMoved", p) for p in points[1:]),
            ("mouseReleased", points[-1]),
        ]:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def touch(self, points: list[tuple[float, float]]) -> None:
        """Put a finger at the first point, move it along the others, and lift it."""
        for index, (x, y) in enumerate(points):
            self.call("Input.dispatchTouchEvent", type="touchMove" if index else "touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str, *, times: int = 1, ctrl: bool = False, shift: bool = False) -> None:
        """Press and release a key by its DOM name, such as `Tab`, `ArrowDown` or `a`."""
        code = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Delete": 46}
        text = "\r" if key == "Enter" else key if len(key) == 1 and not ctrl else ""
        for _ in range(times):
            common = {
                "key": key,
                "windowsVirtualKeyCode": code.get(key, ord(key[0].upper())),
                "modifiers": 2 * ctrl + 8 * shift,
            }
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field, as by selecting all of it and typing."""
        self.evaluate(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.select?.(); }})()")
        self.call("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


def _pipe() -> tuple[int, int]:
    """Return a pipe whose ends are numbered above those that the browser expects, and which no child inherits by itself."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
