"""A page in headless Chromium, driven over the DevTools pipe: no other package is needed."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
"""The last two are for WebGL2 without a GPU."""
TIMEOUT_S = 120


class Page:
    """An open page and what it has said and asked for.

    Attributes
    ----------
    messages : list of str
        Console messages, uncaught errors and log entries of the browser.
    requests : list of str
        Addresses that were asked for, but for the page itself and what lies within it.
    """

    def __init__(self, to_browser: Any, from_browser: Any) -> None:
        self._out, self._in = to_browser, from_browser
        self._number, self._session = 0, ""
        self._buffer = b""
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._loaded = False

    def open(self, path: Path, width: int, height: int, media: Mapping[str, str]) -> None:
        """Load a local file and wait until it is there."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": name, "value": value} for name, value in media.items()]
        self._call("Emulation.setEmulatedMedia", features=features)
        self._call("Page.navigate", url=path.absolute().as_uri())
        self._until(lambda: self._loaded, "the page to load")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is waited for."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        self._until(lambda: self.evaluate(f"!!({expression})"), expression)

    def click(self, x: float, y: float) -> None:
        """Press and release the left mouse button at a place of the window, in pixels."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                clickCount=1,
                button="none" if kind == "mouseMoved" else "left",
            )

    def key(self, name: str) -> None:
        """Press and release a key, by the name that JavaScript gives it."""
        text = name if len(name) == 1 else "\r" if name == "Enter" else ""
        more: dict[str, Any] = {"text": text} if text else {}
        codes = {"Escape": 27, "Enter": 13, "Tab": 9}
        more |= {"windowsVirtualKeyCode": codes[name]} if name in codes else {}
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=name, code=name, **more)

    def wheel(self, x: float, y: float, by: float) -> None:
        """Turn the wheel at a place of the window, in pixels."""
        self._call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=by)

    def settle(self) -> None:
        """Wait until the page has been drawn twice more."""
        self.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Scroll an element into view and return its left, top, width and height there."""
        return tuple(
            self.evaluate(
                "(e => { e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = "
                "e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height] })"
                f"(document.querySelector({json.dumps(selector)}))"
            )
        )

    def screenshot(
        self, path: Path, *, whole: bool = False, clip: tuple[float, ...] | None = None
    ) -> None:
        """Save the window, the whole page or a part of the page as PNG or WebP, by the suffix."""
        options: dict[str, Any] = {"format": path.suffix[1:], "captureBeyondViewport": whole}
        if path.suffix == ".webp":
            options["quality"] = 80
        if clip is not None:
            options["clip"] = dict(zip(("x", "y", "width", "height"), clip, strict=True))
            options["clip"]["scale"] = 1
        data = self._call("Page.captureScreenshot", **options)["data"]
        path.write_bytes(base64.b64decode(data))

    def cpu_s(self) -> float:
        """Return the CPU time of the process that draws the page so far, in seconds."""
        self._call("Performance.enable", timeDomain="threadTicks")
        metrics = {m["name"]: m["value"] for m in self._call("Performance.getMetrics")["metrics"]}
        return metrics["ProcessTime"]

    def as_printed(self) -> None:
        """Show the page as it is printed."""
        self._call("Emulation.setEmulatedMedia", media="print")

    def print(self) -> None:
        """Print the page, to nowhere."""
        self._call("Page.printToPDF", transferMode="ReturnAsStream")

    def pixel(self, x: float, y: float) -> tuple[int, ...]:
        """Return the colour that the window shows at a place, as red, green and blue."""
        left, top = self.evaluate("[scrollX, scrollY]")
        clip = {"x": left + x, "y": top + y, "width": 1, "height": 1, "scale": 1}
        data = self._call("Page.captureScreenshot", format="png", clip=clip)["data"]
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            return image.convert("RGB").getpixel((0, 0))

    def _until(self, condition: Any, what: str) -> None:
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {TIMEOUT_S} s for {what}; messages: {self.messages}")
            self._call("Runtime.evaluate", expression="0")  # lets events come in
            time.sleep(0.05)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._in.fileno(), 1 << 20)
            if not chunk:
                raise RuntimeError("Chromium has ended")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: str, data: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.consoleAPICalled":
            words = [str(a.get("value", a.get("description", ""))) for a in data["args"]]
            self.messages.append(f"{data['type']}: {' '.join(words)}")
        elif event == "Runtime.exceptionThrown":
            details = data["exceptionDetails"]
            self.messages.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Log.entryAdded":
            self.messages.append(f"{data['entry']['level']}: {data['entry']['text']}")
        elif event == "Network.requestWillBeSent":
            url = data["request"]["url"]
            if not url.startswith(("data:", "blob:")) and data.get("type") != "Document":
                self.requests.append(url)


@contextlib.contextmanager
def open_page(
    path: Path, *, width: int = 1200, height: int = 900, media: Mapping[str, str] | None = None
) -> Iterator[Page]:
    """Open a local HTML file in headless Chromium and close it in the end.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    width, height : int
        Of the window, in pixels.
    media : mapping, optional
        What the user prefers, such as ``prefers-color-scheme`` and its value.

    Yields
    ------
    Page
    """
    if CHROMIUM is None:
        raise RuntimeError("chromium is not installed")
    with tempfile.TemporaryDirectory() as profile:
        read_commands, to_browser = os.pipe()
        from_browser, write_answers = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4
        start = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
        command = ["bash", "-c", start, "bash"]
        process = subprocess.Popen(
            [*command, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read_commands, write_answers),
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        try:
            with os.fdopen(to_browser, "wb") as out, os.fdopen(from_browser, "rb") as answers:
                page = Page(out, answers)
                page.open(path, width, height, media or {})
                yield page
                with contextlib.suppress(RuntimeError, OSError):
                    page._session = ""
                    page._call("Browser.close")
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
