"""The page on reading names every reason for which a series is refused while it is read."""

from pathlib import Path

import pytest

from segmenter.errors import Reason

PAGE = (Path(__file__).parents[4] / "docs" / "reference" / "reading.md").read_text()
READ = Path(__file__).parents[4] / "segmenter" / "read"
SOURCES = (
    "folder", "series", "slices", "stacking", "acquisitions", "pixel_format", "hounsfield", "plane_pixels", "decoding",
    "doubts",
)  # fmt: skip


def reasons_of(module):
    text = (READ / f"{module}.py").read_text()
    return {reason for reason in Reason if f"Reason.{reason.name}" in text}


@pytest.mark.parametrize("reason", sorted(set().union(*map(reasons_of, SOURCES))))
def test_every_reason_is_on_the_page(reason):
    assert f"`{reason}`" in PAGE


def test_no_reason_on_the_page_is_made_up():
    named = {
        cell.strip("`")
        for line in PAGE.splitlines()
        if line.startswith("| `")
        for cell in line.split("|")[1].split(", ")
    }
    assert {name.strip(" `") for name in named} <= set(Reason)
