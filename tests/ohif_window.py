"""The actions of a user in OHIF, and the result: names in the panel, colours in the viewport."""

import base64
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from browser import Browser
from ohif_canvas import Canvas
from PIL import Image

# WebGL without a graphics card, and no connections to other machines.
FLAGS = (
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
CANVAS = "canvas.cornerstone-canvas"
SERIES = "[data-cy^=study-browser-thumbnail]"
STEP_SECONDS = 120  # a loaded machine draws slowly; each wait ends as soon as its condition holds
WHEEL_NOTCH = 100  # pixels


class OhifWindow:
    """One browser window that shows the viewer."""

    def __init__(self, browser: Browser, poll: Callable[..., Any]) -> None:
        self._browser, self._poll = browser, poll
        self._log: list[tuple[str, str]] = []
        browser.resize(1400, 900)

    def open_study(self, address: str, study: str, modalities: Sequence[str]) -> None:
        """Open a study and wait until one series of each modality is listed and the first image is drawn."""
        self._browser.open(f"{address}/viewer?StudyInstanceUIDs={study}")
        self._wait(lambda: sorted(self.series()) == sorted(modalities), f"a list of {modalities}")
        self._wait(self.shown_image, "the first image")
        self.press("Confirm and hide")

    def open_segmentation(self) -> None:
        """Open the study's only SEG by a double click, confirm the question, and open the panel on the right."""
        self.open_series("SEG")
        self.press("Yes")
        if not self._has("[data-cy=data-row-title]"):
            self._browser.click("[data-cy=side-panel-header-right]")
        self._wait(self.segments, "the list of segments")

    def open_series(self, modality: str) -> None:
        """Open the study's only series of a modality by a double click in the list on the left."""
        mark = f"e => e.toggleAttribute('data-wanted', e.innerText.startsWith({modality + chr(10)!r}))"
        listed = f"[...document.querySelectorAll({SERIES!r})].filter({mark}).length === 1"
        self._wait(lambda: self._browser.run(f"return {listed}"), f"a single {modality} in the list of series")
        self._browser.double_click("[data-wanted]")

    def press(self, label: str) -> None:
        """Press the button with this label as soon as it appears."""
        find = f"[...document.querySelectorAll('button')].find(b => b.innerText.trim() === {label!r})"
        self._wait(lambda: self._browser.run(f"const b = {find}; b?.click(); return !!b"), f"the button '{label}'")

    def series(self) -> list[str]:
        """Return the modality of each series in the list on the left."""
        return [text.split()[0] for text in self._texts(SERIES)]

    def segments(self) -> list[str]:
        """Return the names in the list on the right."""
        return self._texts("[data-cy=data-row-title]")

    def side_letter(self, edge: str) -> str:
        """Return the letter at an edge of the viewport, "left" or "top"."""
        (letter,) = self._wait(lambda: self._texts(f".orientation-marker.{edge}-mid"), f"a letter at the {edge}")
        return letter

    def shown_image(self) -> int | None:
        """Return the InstanceNumber in the corner of the viewport."""
        found = re.search(r"I:\s*(\d+)", " ".join(self._texts("[data-cy=viewport-overlay-bottom-right]")))
        return int(found[1]) if found else None

    def go_to_image(self, number: int, order: Sequence[int]) -> None:
        """Turn the mouse wheel, notch by notch, until the image with this InstanceNumber is shown.

        order: all numbers as the viewer has them, which is against the normal of the slices (row x column direction):
        from the head down, from the back to the front.
        """
        while (shown := self.shown_image()) != number:
            notch = WHEEL_NOTCH if order.index(number) > order.index(shown) else -WHEEL_NOTCH
            self._browser.turn_wheel(CANVAS, notch)
            self._wait(lambda before=shown: self.shown_image() not in (before, None), f"the image after {shown}")

    def canvas(self) -> Canvas:
        """Return the pixels of the viewport, without letters and buttons: `(row, column, RGB)` 0-255."""
        address = self._browser.run(f"return document.querySelector('{CANVAS}').toDataURL()")
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
            return np.asarray(picture.convert("RGB"), float)

    def wait_until_drawn(self, faults: Callable[[Canvas], list[str]]) -> None:
        """Wait until the check of the canvas finds no fault."""
        found: list[str] = []

        def right() -> bool:
            found[:] = faults(self.canvas())
            return not found

        try:
            self._wait(right, "the drawing")
        except AssertionError as error:
            error.add_note("; ".join(found))
            raise

    def errors(self) -> list[str]:
        """Return the errors that the browser has reported so far."""
        self._listen()
        return [message for level, message in self._log if level == "SEVERE"]

    @contextmanager
    def evidence(self, picture: Path) -> Iterator[None]:
        """Save a picture of the window at the end; a failure names it, with the messages of the browser."""
        try:
            yield
        except BaseException as error:
            self._listen()
            error.add_note(f"see {picture}; the browser's log: {self._log}")
            raise
        finally:
            self._browser.picture(picture)

    def _listen(self) -> None:
        self._log += [(entry["level"], entry["message"]) for entry in self._browser.console()]

    def _wait(self, condition: Callable[[], Any], what: str) -> Any:
        return self._poll(condition, STEP_SECONDS, what)

    def _has(self, selector: str) -> bool:
        return bool(self._browser.run(f"return !!document.querySelector({selector!r})"))

    def _texts(self, selector: str) -> list[str]:
        found: list[str] = self._browser.run(
            f"return [...document.querySelectorAll({selector!r})].map(e => e.innerText.trim())"
        )
        return found
