"""Names of received files, `inbox/STUDY/SERIES/SOP-DIGEST-TOKEN.dcm`: made here when written, parsed here when found.

The beginning of the digest tells a whole file from half of one; the token keeps two arrivals from sharing a file.
"""

import re

INBOX = "inbox"
TEMPORARY = "tmp"
"""The folder of unfinished files in the inbox; no UID can be named so."""
SET_ASIDE = "set-aside"
"""The folder beside the inbox to which files are moved that are neither adopted nor removed."""
DIGEST_DIGITS = 16
TOKEN_DIGITS = 8
NAME = re.compile(r"[0-9.]{1,64}-(?:([0-9a-f]{16})-[0-9A-Za-z_]{8}|([0-9a-f]{12}))\.dcm")
"""The second form, without a token, is that of the first version."""


def series_folder(study_uid: str, series_uid: str) -> str:
    """Return the key of a series' folder; the UIDs must be valid."""
    return f"{INBOX}/{study_uid}/{series_uid}"


def file_name(sop_uid: str, digest: str, token: str) -> str:
    """Return the name of an object's file; digest: SHA-256 in hexadecimal digits; token: random, at least 8 letters."""
    return f"{sop_uid}-{digest[:DIGEST_DIGITS]}-{token[:TOKEN_DIGITS]}.dcm"


def digest_start(name: str) -> str | None:
    """Return the beginning of the digest that a file's name holds, None if it is not the name of a received file."""
    found = NAME.fullmatch(name)
    return None if found is None else found[1] or found[2]
