"""Settings of the fuzz tests: the same examples in every run, or more of them on request.

`QCT_FUZZ_EXAMPLES=5000 pytest tests/...` searches further, at random; a failure is printed with the way to repeat it.
"""

import os
import struct

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MORE = int(os.environ.get("QCT_FUZZ_EXAMPLES", "0"))
FALSE_NUMBERS = (0, 1, 2, 5, 255, 65535, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def fuzz(examples):
    """Return the settings of a search with this number of examples."""
    return settings(
        max_examples=MORE or examples,
        derandomize=not MORE,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def mutations(length):
    """Return a strategy of one to four changes to bytes of about this length."""
    place = st.integers(0, max(length - 1, 0))
    change = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(1, 255)),
        st.tuples(st.just("cut"), place),
        st.tuples(st.just("drop"), place, st.integers(1, 64)),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=32)),
        st.tuples(st.just("double"), place, st.integers(1, 300)),
        st.tuples(st.just("lie"), place, st.sampled_from(FALSE_NUMBERS), st.sampled_from(["<I", ">I", "<H", ">H"])),
    )
    return st.lists(change, min_size=1, max_size=4)


def mutated(content, changes):
    """Return bytes with changes made to them."""
    made = bytearray(content)
    for kind, at, *rest in changes:
        at = min(at, max(len(made) - 1, 0))  # noqa: PLW2901
        if kind == "flip" and made:
            made[at] ^= rest[0]
        elif kind == "cut":
            del made[at:]
        elif kind == "drop":
            del made[at : at + rest[0]]
        elif kind == "insert":
            made[at:at] = rest[0]
        elif kind == "double":
            made[at:at] = made[at : at + rest[0]]
        elif kind == "lie":
            number, form = rest
            size = struct.calcsize(form)
            made[at : at + size] = struct.pack(form, number & (256**size - 1))
    return bytes(made)
