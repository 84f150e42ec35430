"""A real, headless Chromium, driven through chromedriver (W3C WebDriver)."""

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest


class Browser:
    """The few WebDriver commands the tests need."""

    def __init__(self, driver, options):
        self._http = httpx.Client(base_url=driver, timeout=180)
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self._session = self._call("POST", "/session", wanted)["sessionId"]

    def _call(self, method, path, body=None):
        answer = self._http.request(method, path, json={} if body is None and method == "POST" else body)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value

    def _do(self, path, **body):
        return self._call("POST", f"/session/{self._session}{path}", body)

    def open(self, address):
        self._do("/url", url=address)

    def run(self, script):
        return self._do("/execute/sync", script=script, args=[])

    def text(self, selector="body"):
        return self.run(f"return document.querySelector({selector!r}).innerText")

    def click(self, selector):
        self.run(f"document.querySelector({selector!r}).click()")

    def double_click(self, selector):
        """Click twice in the middle of an element, with the mouse."""
        clicks = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp") * 2]
        move = {"type": "pointerMove", "duration": 0, **self._middle(selector)}
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": [move, *clicks]}
        self._do("/actions", actions=[mouse])

    def turn_wheel(self, selector, pixels):
        """Turn the mouse wheel over the middle of an element; positive is towards the user."""
        turn = {"type": "scroll", "deltaX": 0, "deltaY": pixels, "duration": 0, **self._middle(selector)}
        self._do("/actions", actions=[{"type": "wheel", "id": "wheel", "actions": [turn]}])

    def _middle(self, selector):
        box = self.run(f"return document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        return {"x": round(box["x"] + box["width"] / 2), "y": round(box["y"] + box["height"] / 2)}

    def devtools(self, command, **params):
        self._do("/goog/cdp/execute", cmd=command, params=params)

    def resize(self, width, height):
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def prefer(self, scheme):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def allow_scripts(self, allowed):
        self.devtools("Emulation.setScriptExecutionDisabled", value=not allowed)

    def picture(self, path):
        path.write_bytes(base64.b64decode(self._call("GET", f"/session/{self._session}/screenshot")))

    def console(self):
        return self._do("/se/log", type="browser")

    def forget(self, address):
        """Leave the page and remove all that the site stored or said: cookies, settings, files kept, the console."""
        self.open("about:blank")
        self.devtools("Storage.clearDataForOrigin", origin=address, storageTypes="all")
        self.devtools("Network.clearBrowserCache")
        self.console()

    def quit(self):
        self._call("DELETE", f"/session/{self._session}")
        self._http.close()


def started_driver(program: str) -> tuple[subprocess.Popen[str], int]:
    """Start chromedriver on a port of its choice; start it again if another process took that port first."""
    said: list[str] = []
    for _ in range(5):
        driver = subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in driver.stdout:
            if "started successfully on port" in line:
                return driver, int(line.rstrip().rstrip(".").rsplit(" ", 1)[1])
            said.append(line)
        driver.wait()
    raise AssertionError(f"chromedriver does not start: {said}")


@contextmanager
def running_browser(profile: Path, *flags: str) -> Iterator[Browser]:
    """Run a browser with a new profile folder; without a browser skip, or fail under CI."""
    programs = {name: shutil.which(name) for name in ("chromedriver", "chromium")}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{', '.join(missing)} is not installed")
    driver, port = started_driver(programs["chromedriver"])
    window = None
    try:
        always = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
        ]
        window = Browser(f"http://127.0.0.1:{port}", {"binary": programs["chromium"], "args": [*always, *flags]})
        yield window
    finally:
        try:
            if window is not None:
                window.quit()
        finally:
            driver.terminate()
            driver.wait()
