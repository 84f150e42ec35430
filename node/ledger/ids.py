"""Job ids: short, sortable by time, safe in URLs and paths."""

import secrets
from datetime import datetime

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def new_job_id(at: datetime) -> str:
    """Return 14 characters: nine for the milliseconds since 1970, five random ones."""
    number = int(at.timestamp() * 1000)
    digits = [ALPHABET[number >> 5 * place & 31] for place in range(8, -1, -1)]
    return "".join(digits) + "".join(secrets.choice(ALPHABET) for _ in range(5))
