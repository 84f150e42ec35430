"""Logging of a running part: one plain UTC line per record on stderr."""

import logging
import sys
import time
import warnings


class OneLine(logging.Formatter):
    """Keeps what a record says on one line: what a caller sends must neither forge lines nor steer a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the record without its traceback, control characters written out."""
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in super().formatMessage(record))


def configure_logging(level: int = logging.INFO) -> None:
    """Send all records to stderr; libraries which tell more than an administrator needs, from WARNING on."""
    formatter = OneLine("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("pynetdicom", "kombu", "alembic", "uvicorn.access", "PIL", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    hush_pydicom()
    hush_pynetdicom()


def hush_pydicom() -> None:
    """Keep pydicom's warnings about odd values to itself: they quote the values, which may be a patient's."""
    logging.getLogger("pydicom").propagate = False  # a level would be set anew when pydicom is imported
    warnings.filterwarnings("ignore", module=r"pydicom\.")


def hush_pynetdicom() -> None:
    """Keep what pynetdicom says about odd PDUs to itself: it quotes the bytes, with a traceback, at every request."""
    for name in ("utils", "pdu", "pdu_items", "pdu_primitives", "presentation"):
        logging.getLogger(f"pynetdicom.{name}").setLevel(logging.CRITICAL)
