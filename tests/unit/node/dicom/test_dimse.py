"""Command sets: what pynetdicom writes is read, what we write pydicom reads, and what lies is refused."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode, encode
from raw_caller import CT, VERIFICATION, echo_command, elements, store_command

from node.dicom import dimse
from node.dicom.dimse import Request
from node.dicom.pdu import ProtocolError
from node.errors import StoreStatus


def of_pynetdicom(primitive, message):
    message.primitive_to_message(primitive)
    return encode(message.command_set, is_implicit_vr=True, is_little_endian=True)


def test_the_requests_of_pynetdicom_are_read():
    echo = C_ECHO()
    echo.MessageID, echo.AffectedSOPClassUID = 7, VERIFICATION
    assert dimse.decode(of_pynetdicom(echo, C_ECHO_RQ())) == Request(dimse.C_ECHO_RQ, 7, VERIFICATION, "", False)
    store = C_STORE()
    store.MessageID, store.AffectedSOPClassUID, store.AffectedSOPInstanceUID = 65535, CT, "1.2.3"
    store.Priority, store.DataSet = 2, BytesIO(b"x")
    store.MoveOriginatorApplicationEntityTitle, store.MoveOriginatorMessageID = "MOVER", 3
    assert dimse.decode(of_pynetdicom(store, C_STORE_RQ())) == Request(dimse.C_STORE_RQ, 65535, CT, "1.2.3", True)


@pytest.mark.parametrize("padding", [b"", b"\0", b" ", b"\0\0", b" \0"])
def test_uids_lose_their_padding(padding):
    assert dimse.decode(store_command(b"1.2.34" + padding)).sop_instance_uid == "1.2.34"


@pytest.mark.parametrize(
    ("uid", "read"), [(b"1.\0.2", "1.\0.2"), (b"\xff1", "\ufffd1"), (b"../..", "../.."), (b"", "")]
)
def test_invalid_uids_are_not_repaired(uid, read):
    assert dimse.decode(store_command(uid)).sop_instance_uid == read


def test_the_group_length_is_ignored():
    for said in (0, 1, 0xFFFFFFFF):
        command = elements({0x0100: 0x30, 0x0110: 1, 0x0800: 0x0101}, group_length=said)
        assert dimse.decode(command).message_id == 1


GOOD = echo_command()
BAD = {
    "nothing": b"",
    "half an element": GOOD[:5],
    "ends within a value": GOOD[:-1],
    "ends within an element's head": GOOD + b"\0\0\0",
    "a length beyond the end": struct.pack("<HHI", 0, 0x0100, 4) + b"\1\0",
    "an endless length": struct.pack("<HHI", 0, 0x0100, 0xFFFFFFFF) + b"\1\0",
    "another group": struct.pack("<HHI", 8, 0x0016, 2) + b"1.",
    "explicit VR": b"\0\0\0\0UL\4\0\0\0\0\0",
    "big endian": struct.pack(">HHIH", 0, 0x0100, 2, 0x30),
    "no command field": elements({0x0110: 1, 0x0800: 0x0101}),
    "no message id": elements({0x0100: 0x30, 0x0800: 0x0101}),
    "no data set type": elements({0x0100: 0x30, 0x0110: 1}),
    "a message id of four bytes": echo_command(e0110=b"\1\0\0\0"),
    "an empty command field": echo_command(e0100=b""),
    "an odd length": echo_command(e0800=b"\1\1\0"),
}


@pytest.mark.parametrize("command", BAD.values(), ids=BAD)
def test_other_bytes_are_refused(command):
    with pytest.raises(ProtocolError):
        dimse.decode(command)


@given(st.binary(max_size=200) | st.binary(max_size=40).map(lambda junk: GOOD + junk))
def test_any_bytes_are_a_request_or_a_protocol_error(command):
    try:
        assert isinstance(dimse.decode(command), Request)
    except ProtocolError:
        return


def read(command):
    return decode(BytesIO(command), is_implicit_vr=True, is_little_endian=True)


@pytest.mark.parametrize("status", StoreStatus)
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_a_store_response_has_all_elements(status, uid):
    said = read(dimse.response(Request(1, 513, CT, uid, True), status, "why, in odd or even length"[: 20 + len(uid)]))
    assert (said.CommandField, said.MessageIDBeingRespondedTo, said.CommandDataSetType) == (0x8001, 513, 0x0101)
    assert (said.AffectedSOPClassUID, said.AffectedSOPInstanceUID, said.Status) == (CT, uid, status)
    assert said.ErrorComment.startswith("why, in odd")


def test_an_echo_response():
    said = read(dimse.response(Request(0x30, 1, VERIFICATION, "", False), StoreStatus.SUCCESS))
    assert (said.CommandField, said.Status, said.AffectedSOPClassUID) == (0x8030, 0, VERIFICATION)
    assert "AffectedSOPInstanceUID" not in said and "ErrorComment" not in said


@given(st.text(max_size=200), st.text(max_size=80), st.text(max_size=80))
def test_a_response_is_a_command_set_whatever_the_request_contained(comment, sop_class, sop_uid):
    command = dimse.response(Request(1, 0, sop_class, sop_uid, True), StoreStatus.MISMATCH, comment)
    assert len(command) % 2 == 0
    assert struct.unpack("<I", command[8:12]) == (len(command) - 12,)
    again = command.replace(struct.pack("<H", 0x8001), struct.pack("<H", 1), 1)
    assert dimse.decode(again.replace(struct.pack("<HHI", 0, 0x0120, 2), struct.pack("<HHI", 0, 0x0110, 2), 1))
    tags, at = [], 0
    while at < len(command):
        _, tag, length = struct.unpack("<HHI", command[at : at + 8])
        assert tag != dimse.COMMENT or length <= dimse.MAX_COMMENT
        tags, at = [*tags, tag], at + 8 + length
    assert tags == sorted(tags)
