"""Text that is safe to store and to print: headers of senders can neither control a terminal nor fill a page."""

from typing import IO, Any

SENTENCE_MAX = 500
"""Characters of a reason; the sentences of the node itself are shorter."""


def printable(text: str, limit: int | None = None) -> str:
    r"""Return a text with all that is not printable escaped, as `\x1b`, and cut to a number of characters.

    Not printable are control characters, line breaks, and the marks that change the direction of writing.
    """
    if limit is not None and len(text) > limit:
        text = f"{text[: limit - 3]}..."
    escaped = text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return escaped if limit is None or len(escaped) <= limit else f"{escaped[: limit - 3]}..."


def sentence(text: str) -> str:
    """Return a text as the reason of a job: one line, printable, not longer than SENTENCE_MAX."""
    return printable("; ".join(text.split("\n")), SENTENCE_MAX)


class PrintableStream:
    """A text stream that escapes what is written to it, except line breaks and tabs."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        lines = ("\t".join(printable(part) for part in line.split("\t")) for line in text.split("\n"))
        self._stream.write("\n".join(lines))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
