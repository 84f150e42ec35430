"""File meta information (PS3.10 7.1) of a received object, as bytes: a few elements, written for every slice."""

import struct
from dataclasses import dataclass

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from node.dicom.elements import Buffer, UnusualEncodingError, walk

PREAMBLE = bytes(128) + b"DICM"
PREFIX_AT, META_AT, GROUP_LENGTH_END = 128, 132, 144
GROUP_LENGTH = b"\x02\0\0\0UL\x04\0"
MAX_META = 65_536
MEDIA_STORAGE_CLASS, MEDIA_STORAGE_INSTANCE, TRANSFER_SYNTAX = 0x00020002, 0x00020003, 0x00020010
SHORT = struct.Struct("<HH2sH")
LONG = struct.Struct("<HH2sHI")


@dataclass(frozen=True)
class FileMeta:
    """The file meta information of a file. start: where the data set begins."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    start: int


def decode_file_meta(content: Buffer) -> FileMeta:
    """Read the file meta information of a file, as far as its group length says. Raises UnusualEncodingError.

    pydicom reads on as long as elements of group 0002 follow, also into a data set that begins with such elements.
    """
    if content[PREFIX_AT:META_AT] != b"DICM" or content[META_AT : GROUP_LENGTH_END - 4] != GROUP_LENGTH:
        raise UnusualEncodingError("no file meta information")
    start = GROUP_LENGTH_END + int.from_bytes(content[GROUP_LENGTH_END - 4 : GROUP_LENGTH_END], "little")
    if start > min(len(content), MAX_META):
        raise UnusualEncodingError("the file meta information has no end")
    wanted = (MEDIA_STORAGE_CLASS, MEDIA_STORAGE_INSTANCE, TRANSFER_SYNTAX)
    values, _ = walk(bytes(content[:start]), META_AT, True, wanted)
    sop_class, sop, syntax = (values.get(tag, b"").decode("ascii", "replace").rstrip("\0 ") for tag in wanted)
    if not (sop_class and sop and syntax):
        raise UnusualEncodingError("the file meta information lacks a UID")
    return FileMeta(sop_class, sop, syntax, start)


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
