"""Text in ASCII: for objects in whichever character set the source has, and for a font that knows no other letters."""

import unicodedata


def plain(text: str, room: int | None = None) -> str:
    """Return the text on one line in ASCII, cut to `room` characters; accents are taken off, other letters become ?."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(letters.encode("ascii", "replace").decode().split())[:room].rstrip()
