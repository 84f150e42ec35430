"""Save the page as PNG and PDF."""

import time
from datetime import datetime
from pathlib import Path

from PIL import Image

A4_INCHES = 11.69  # long side
JPEG_QUALITY = 95  # Pillow puts colour pictures into PDF as JPEG


def save_png(page: Image.Image, path: Path) -> Path:
    """Write a PNG; the same page gives the same bytes."""
    page.save(path, "PNG", optimize=False)
    return path


def save_pdf(page: Image.Image, path: Path, created: datetime) -> Path:
    """Write a PDF of one landscape page as wide as A4 is long; created: the time in its metadata."""
    moment: time.struct_time = created.timetuple()
    page.save(
        path, "PDF", resolution=page.width / A4_INCHES, quality=JPEG_QUALITY, subsampling=0,
        creationDate=moment, modDate=moment, title="Proximal femur, for investigational use", producer="qct-node",
    )  # fmt: skip
    return path
