"""File meta information (PS3.10 7.1) of a received object, as bytes: a few elements, written for every slice."""

import struct

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

PREAMBLE = bytes(128) + b"DICM"
SHORT = struct.Struct("<HH2sH")
LONG = struct.Struct("<HH2sHI")


def encode_file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str, calling_ae: str) -> bytes:
    """Return preamble, prefix and file meta information, Explicit VR Little Endian; UIDs must be valid."""
    body = b"".join(
        (
            LONG.pack(2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _text(0x0002, b"UI", sop_class_uid),
            _text(0x0003, b"UI", sop_instance_uid),
            _text(0x0010, b"UI", transfer_syntax),
            _text(0x0012, b"UI", PYNETDICOM_IMPLEMENTATION_UID),
            _text(0x0013, b"SH", PYNETDICOM_IMPLEMENTATION_VERSION),
            _text(0x0016, b"AE", calling_ae),
        )
    )
    return PREAMBLE + SHORT.pack(2, 0, b"UL", 4) + struct.pack("<I", len(body)) + body


def _text(element: int, vr: bytes, value: str) -> bytes:
    encoded = value.encode("ascii", "replace")
    if len(encoded) % 2:
        encoded += b"\0" if vr == b"UI" else b" "
    return SHORT.pack(2, element, vr, len(encoded)) + encoded
