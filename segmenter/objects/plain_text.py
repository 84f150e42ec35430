"""Text in ASCII: valid in every character set of a source, and covered by the font of the page."""

import unicodedata


def plain(text: str, room: int | None = None) -> str:
    """Return the text on one line in ASCII, cut to `room` characters; accents are removed, other letters become ?."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(letters.encode("ascii", "replace").decode().split())[:room].rstrip()
