"""Where a received data set really begins: some senders put the beginning of their file, or a command set, before it.

Neither is part of a data set (PS3.5 7.1, PS3.7 6.3.1, PS3.10 7.1), and readers of the stored file would believe it: a
second Transfer Syntax UID in group 0002 replaces the one that was negotiated.
"""

from typing import Literal

from node.dicom.elements import LONG_FORM, SHORT_FORM, UNDEFINED_LENGTH, Buffer, UnusualEncodingError

PREFIX_AT, PREFIX_END = 128, 132  # "DICM" after the preamble
COMMAND_GROUP, META_GROUP = 0x0000, 0x0002
MOST_BYTES = 65_536
EXPLICIT_FORMS = SHORT_FORM | LONG_FORM


def data_set_start(data: Buffer, at: int, *, big_endian: bool = False, deflated: bool = False) -> int:
    """Return where the data set begins whose first byte as received is at `at`.

    Skips preamble, prefix and elements of groups 0000 and 0002. Raises UnusualEncodingError when these have no end.
    """
    limit = at + MOST_BYTES
    if bytes(data[at + PREFIX_AT : at + PREFIX_END]) == b"DICM":
        at += PREFIX_END
    while (after := _after_foreign_element(data, at, big_endian, deflated)) is not None:
        if after > limit:
            raise UnusualEncodingError(f"elements of groups 0000 and 0002 of more than {MOST_BYTES} bytes")
        at = after
    return at


def _after_foreign_element(data: Buffer, at: int, big_endian: bool, deflated: bool) -> int | None:
    """Return where the element at `at` ends, None if its group may stand in a data set."""
    head = bytes(data[at : at + 12])
    if len(head) < 8:
        return None
    # Command sets, and file meta information that was passed along as it was, are little endian in any transfer syntax.
    order: Literal["big", "little"] = "big" if big_endian and head[:2] == b"\0\2" else "little"
    group, vr = int.from_bytes(head[:2], order), head[4:6]
    if group not in {COMMAND_GROUP, META_GROUP}:
        return None
    if deflated and (group != META_GROUP or vr not in EXPLICIT_FORMS):  # any two bytes may begin a deflated stream
        return None
    if vr in LONG_FORM:
        length, start = int.from_bytes(head[8:12], order), at + 12
    elif vr in SHORT_FORM:
        length, start = int.from_bytes(head[6:8], order), at + 8
    else:
        length, start = int.from_bytes(head[4:8], order), at + 8
    if length == UNDEFINED_LENGTH or start + length > len(data):
        raise UnusualEncodingError("an element of group 0000 or 0002 without an end")
    return start + length
