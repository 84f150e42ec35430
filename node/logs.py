"""Logging of a running process: one line per record on stderr, times in UTC."""

import logging
import sys
import time
import warnings


class OneLineFormatter(logging.Formatter):
    """Escapes control characters, so that data from a sender can neither forge log lines nor control a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the record without its traceback, control characters escaped."""
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in super().formatMessage(record))


def configure_logging(level: int = logging.INFO) -> None:
    """Send all records to stderr; of verbose libraries only those of level WARNING and above."""
    formatter = OneLineFormatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("pynetdicom", "kombu", "alembic", "uvicorn.access", "PIL", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    silence_pydicom()
    silence_pynetdicom()


def silence_pydicom() -> None:
    """Suppress pydicom's warnings about invalid values: they quote the values, which may be patient data."""
    logging.getLogger("pydicom").propagate = False  # importing pydicom would reset a level
    warnings.filterwarnings("ignore", module=r"pydicom\.")


def silence_pynetdicom() -> None:
    """Suppress pynetdicom's records about invalid PDUs: each quotes the bytes, with a traceback."""
    for name in ("utils", "pdu", "pdu_items", "pdu_primitives", "presentation"):
        logging.getLogger(f"pynetdicom.{name}").setLevel(logging.CRITICAL)
