"""Logging of a running process: one line per record on stderr, times in UTC.

Nobody has to read it: what the reader does not take is lost, and nothing waits for it. No caller can fill it: of each
kind of record only some are written in a minute.
"""

import logging
import os
import select
import sys
import threading
import time
import warnings
from collections import Counter
from typing import Any, TextIO

from node.plain_text import printable

PATIENCE_SECONDS = 0.2
"""How long a line waits for the reader of the log, unless the line before waited in vain."""
RECORDS_OF_A_KIND = 300
KIND_SECONDS = 60.0
MOST_KINDS = 1000
"""Kinds that are told apart within a minute; all others are one kind."""
OTHER_KINDS = "other records"
LINE_MAX = 2000  # characters


class OneLineFormatter(logging.Formatter):
    """Escapes control characters, so that data from a sender can neither forge log lines nor control a terminal.

    A line is no longer than LINE_MAX characters.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the record without its traceback, control characters escaped."""
        return printable(super().formatMessage(record), LINE_MAX)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback, each of its lines escaped: the message of an error may quote a header."""
        return "\n".join(printable(line, LINE_MAX) for line in super().formatException(ei).split("\n"))


class LossyStream:
    """Writes text to a file descriptor without ever waiting long: lines that its reader does not take are counted."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._lock = threading.Lock()
        self._lost = 0

    def write(self, text: str) -> None:
        """Write text, or count it as lost; never raises."""
        with self._lock:
            if self._lost and self._is_writable(0):
                self._write(f"\n{self._lost} lines of this log are lost: nobody read it\n")
                self._lost = 0
            if self._lost or not self._write(text):
                self._lost += 1

    def flush(self) -> None:
        """Do nothing: nothing is kept back."""

    def _write(self, text: str) -> bool:
        data = text.encode("utf-8", "replace")
        # A pipe that is writable takes PIPE_BUF bytes at once (POSIX); the rest could block.
        for at in range(0, len(data), select.PIPE_BUF):
            if not self._is_writable(PATIENCE_SECONDS):
                return False
            try:
                os.write(self._descriptor, data[at : at + select.PIPE_BUF])
            except OSError:  # the reader is gone, or the disk is full
                return False
        return True

    def _is_writable(self, seconds: float) -> bool:
        return any(event & select.POLLOUT for _, event in self._poll.poll(round(seconds * 1000)))


def stderr_stream() -> TextIO | LossyStream:
    """Return stderr as a stream that never blocks; as it is, if it is no file (in a test)."""
    try:
        return LossyStream(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return sys.stderr


class KindLimit(logging.Filter):
    """Lets only so many records of a kind pass in a minute, so that one caller cannot wash the others out of the log.

    Records are of one kind if they come from the same statement: logger, level and message before its arguments are
    put in. How many were left out is told in the first record that passes after the minute.
    """

    def __init__(self, records: int = RECORDS_OF_A_KIND, seconds: float = KIND_SECONDS) -> None:
        super().__init__()
        self._records, self._seconds = records, seconds
        self._since = time.monotonic()
        self._counts: Counter[tuple[str, int, str]] = Counter()
        self._lock = threading.Lock()  # a handler filters before it takes its own lock

    def filter(self, record: logging.LogRecord) -> bool:
        """Count a record and tell whether it passes."""
        with self._lock:
            return self._passes(record)

    def _passes(self, record: logging.LogRecord) -> bool:
        left_out = self._left_out() if time.monotonic() - self._since >= self._seconds else ""
        kind = (record.name, record.levelno, str(record.msg))
        if kind not in self._counts and len(self._counts) >= MOST_KINDS:
            kind = ("", 0, OTHER_KINDS)
        self._counts[kind] += 1
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out})", None
        return self._counts[kind] <= self._records

    def _left_out(self) -> str:
        """Begin another minute; return what was left out in the one before."""
        many = sum(count - self._records for count in self._counts.values() if count > self._records)
        seconds = time.monotonic() - self._since
        self._counts.clear()
        self._since = time.monotonic()
        return f"and {many} more records like some before were left out within {seconds:.0f} s" if many else ""


def configure_logging(level: int = logging.INFO) -> None:
    """Send all records to stderr; of verbose libraries only those of level WARNING and above."""
    formatter = OneLineFormatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(stderr_stream())
    handler.setFormatter(formatter)
    handler.addFilter(KindLimit())
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
