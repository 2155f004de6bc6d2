"""A headless Chromium for the tests, driven over its DevTools protocol through a pipe.

The protocol is Chromium's own: nothing is needed besides the browser, whatever its version.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import LONG

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MAC_APPS = ("Google Chrome", "Chromium", "Microsoft Edge")
_FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # it does not start as root with one, and the only pages it loads are ours
    "--disable-dev-shm-usage",  # containers have little
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--password-store=basic",
    "--use-mock-keychain",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--window-size=1280,1000",
)
# It reads from 3 and writes to 4. The pipes' own numbers are above, so that neither is closed by the other's move.
_START = "import os, sys; _, a, b, *c = sys.argv; os.dup2(int(a), 3); os.dup2(int(b), 4); os.execv(c[0], c)"
_KEYS = {"Tab": ("\t", 9), "Enter": ("\r", 13), "Space": (" ", 32)}
CONTROL = 2
Event = dict[str, Any]


def find_browser() -> str:
    """The browser's path: of the variable CHROMIUM, or where systems put it. Without one, the tests fail."""
    apps = [f"/Applications/{name}.app/Contents/MacOS/{name}" for name in _MAC_APPS]
    for candidate in filter(None, (os.environ.get("CHROMIUM"), *_NAMES, *apps)):
        if found := shutil.which(candidate):
            return found
    raise AssertionError(
        "The tests of the page need Chromium or Chrome. On Debian: `make browser` or `apt-get install chromium`. "
        "On a Mac: install Chrome. Elsewhere: set CHROMIUM to its path."
    )


@contextlib.contextmanager
def browser(profile: Path) -> Iterator["Browser"]:
    """A browser of its own, with an empty profile in this folder."""
    commands, to_browser = _pipe()
    from_browser, answers = _pipe()
    command = [sys.executable, "-I", "-c", _START, str(commands), str(answers), find_browser(), *_FLAGS]
    with (
        open(profile / "log", "wb") as log,
        subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(commands, answers),
            start_new_session=True,
        ) as process,
    ):
        os.close(commands)
        os.close(answers)
        try:
            yield Browser(to_browser, from_browser)
        finally:
            os.close(to_browser)
            os.close(from_browser)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its profile is thrown away anyway


def _pipe() -> tuple[int, int]:
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends[0], ends[1]


class Browser:
    """Sends commands one at a time; events come in between and go to their tabs."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._number, self._unread = 0, b""
        self._tabs: dict[str, Tab] = {}

    def call(self, method: str, session: str | None = None, /, **parameters: Any) -> Any:
        """What the browser answers to a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._next(LONG)
            assert answer is not None, f"The browser does not answer to {method}"
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def pause(self, seconds: float) -> None:
        """Let this time pass, and take events."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._next(left)

    def _next(self, seconds: float) -> Event | None:
        while b"\0" not in self._unread:
            if not select.select([self._from], [], [], seconds)[0]:
                return None
            chunk = os.read(self._from, 1 << 20)
            assert chunk, "The browser has ended"
            self._unread += chunk
        line, self._unread = self._unread.split(b"\0", 1)
        message: Event = json.loads(line)
        if "method" in message and message.get("sessionId") in self._tabs:
            self._tabs[message["sessionId"]].events.append(message)
        return message

    @contextlib.contextmanager
    def tab(self, url: str, *, width: int = 1280, dark: bool = False) -> Iterator["Tab"]:
        """A tab with this page, loaded, with cookies and storage of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session, context)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.look(width=width, dark=dark)
        tab.call("Page.navigate", url=url)
        tab.until("location.href !== 'about:blank' && document.readyState === 'complete'")
        try:
            yield tab
        finally:
            del self._tabs[session]
            self.call("Target.disposeBrowserContext", browserContextId=context)


@dataclass
class Tab:
    """One page."""

    browser: Browser
    session: str
    context: str
    events: list[Event] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> Any:
        return self.browser.call(method, self.session, **parameters)

    def look(self, *, width: int, dark: bool = False) -> None:
        """How wide the window is, and whether its user likes it dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is; promises are waited for."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true, as JavaScript sees it."""
        end = time.monotonic() + LONG
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < end, f"{expression} does not come true; the page: {self.text('body')}"
            self.browser.pause(0.02)

    def text(self, selector: str) -> str:
        """What is seen of an element."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of an element."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.value(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
                          f"({element}.getBoundingClientRect())")  # fmt: skip
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Put a text in place of what is in a field."""
        self.click(selector)
        self.value("document.activeElement.select()")
        self.call("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key and let it go."""
        text, code = _KEYS[key]
        pressed = {"key": text if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        words = {} if modifiers or key == "Tab" else {"text": text}
        self.call("Input.dispatchKeyEvent", type="keyDown", modifiers=modifiers, **pressed, **words)
        self.call("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **pressed)

    @property
    def requests(self) -> list[str]:
        """The URLs that the page has asked for."""
        return [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[Event]:
        """What the browser's console has to say."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for event in self._events(*kinds)]

    def _events(self, *methods: str) -> list[Event]:
        self.browser.pause(0.05)
        return [event for event in self.events if event["method"] in methods]

    @contextlib.contextmanager
    def behind(self) -> Iterator[None]:
        """Have another tab in front of this one."""
        other = self.browser.call("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        self.browser.call("Target.activateTarget", targetId=other)
        yield
        self.browser.call("Target.closeTarget", targetId=other)
        self.call("Page.bringToFront")

    def screenshot(self, file: Path) -> None:
        """Save what is seen, for a person."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        image = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(image["data"]))
