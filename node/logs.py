"""Logging of a running part: one plain UTC line per record on stderr."""

import logging
import sys
import time
import warnings


def configure_logging(level: int = logging.INFO) -> None:
    """Send all records to stderr; libraries which tell more than an administrator needs, from WARNING on."""
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("pynetdicom", "kombu", "alembic", "uvicorn.access", "PIL", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    hush_pydicom()


def hush_pydicom() -> None:
    """Keep pydicom's warnings about odd values to itself: they quote the values, which may be a patient's."""
    logging.getLogger("pydicom").propagate = False  # a level would be set anew when pydicom is imported
    warnings.filterwarnings("ignore", module=r"pydicom\.")
