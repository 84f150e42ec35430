"""Association requests with small faults: taken as DCMTK and Orthanc take them, or refused in a row that says why."""

import struct

import pytest
import raw_caller as raw
from raw_caller import CT, EXPLICIT, IMPLICIT, VERIFICATION, Caller, context, item

from node.records.states import JobState, Reason

LENGTH = item(0x51, struct.pack(">I", 16384))
CLASS = item(0x52, b"1.2.3.4")
GOOD = context(1, VERIFICATION, IMPLICIT)


def asks(contexts=(GOOD,), *, called=b"QCTNODE", calling=b"SCANNER", user=LENGTH + CLASS, application=raw.APPLICATION):
    body = struct.pack(">Hxx16s16s32x", 1, called.ljust(16), calling.ljust(16))
    body += item(0x10, application.encode()) + b"".join(contexts) + item(0x50, user)
    return raw.pdu(1, body)


def role(uid, scu, scp):
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp)))


def identity(kind):
    return item(0x58, bytes((kind, 1)) + struct.pack(">H", 5) + b"alice" + struct.pack(">H", 0))


TAKEN = {
    "unknown user item": asks(user=LENGTH + CLASS + item(0x5F, b"vendor")),
    "user item that is cut off": asks(user=LENGTH + CLASS + b"\x58\0\xff\xff\1"),
    "unknown items 0x15 and 0x60": asks([item(0x15, b"abc"), GOOD, item(0x60, b"abc")]),
    "no implementation class": asks(user=LENGTH),
    "empty implementation class": asks(user=LENGTH + item(0x52, b"")),
    "invalid implementation class": asks(user=LENGTH + item(0x52, b"1.2..03.x")),
    "implementation class of 70 characters": asks(user=LENGTH + item(0x52, b"1." + b"2" * 68)),
    "version name of 20 characters": asks(user=LENGTH + CLASS + item(0x55, b"A" * 20)),
    "empty version name": asks(user=LENGTH + CLASS + item(0x55, b"")),
    "version name in Latin-1": asks(user=LENGTH + CLASS + item(0x55, "Gerät".encode("latin-1"))),
    "version name padded with NUL": asks(user=LENGTH + CLASS + item(0x55, b"VER\0\0")),
    "no maximum length": asks(user=CLASS),
    "no user information": asks(user=b""),
    "maximum length of two bytes": asks(user=item(0x51, b"\x40\0") + CLASS),
    "maximum length 1": asks(user=item(0x51, struct.pack(">I", 1))),
    "asynchronous window": asks(user=LENGTH + CLASS + item(0x53, struct.pack(">HH", 8, 1))),
    "roles": asks(
        user=LENGTH + CLASS + role(VERIFICATION, 0, 0) + role(CT, 1, 1) + role("1.2.840.10008.5.1.4.31", 1, 1)
    ),
    "role that is cut off": asks(user=LENGTH + item(0x54, b"\xff\xff1.2")),
    "user identity of type 5": asks(user=LENGTH + CLASS + identity(5)),
    "user identity of type 9": asks(user=LENGTH + CLASS + identity(9)),
    "user information first": raw.pdu(
        1, asks()[6:74] + item(0x50, LENGTH + CLASS) + item(0x10, raw.APPLICATION.encode()) + GOOD
    ),
    "abstract syntax padded with NUL": asks([context(1, VERIFICATION + "\0", IMPLICIT)]),
    "abstract syntax padded with a space": asks([context(1, VERIFICATION + " ", IMPLICIT)]),
    "transfer syntax padded with NUL": asks([context(1, VERIFICATION, IMPLICIT + "\0")]),
    "application context padded with NUL": asks(application=raw.APPLICATION + "\0"),
    "a context id twice": asks([GOOD, context(1, CT, IMPLICIT)]),
    "calling title padded with NUL": asks(calling=b"SCANNER".ljust(16, b"\0")),
    "calling title with bytes behind a NUL": asks(calling=b"SCANNER\0\xff\xfeXYZ"),
    "calling title in Latin-1": asks(calling="GERÄT".encode("latin-1")),
    "calling title in GBK": asks(calling="扫描".encode("gbk")),
    "calling title with a backslash": asks(calling=b"SC\\ANNER"),
    "calling title with an escape sequence": asks(calling=b"SC\x1b[2JANNER"),
    "called title padded with NUL": asks(called=b"QCTNODE".ljust(16, b"\0")),
    "called title with bytes behind a NUL": asks(called=b"QCTNODE\0XXXXXXXX"),
    "called title behind spaces": asks(called=b"  QCTNODE"),
}


@pytest.mark.parametrize("request_pdu", TAKEN.values(), ids=TAKEN)
def test_small_faults_are_forgiven(node, request_pdu):
    with Caller(node.receiver.port) as caller:
        caller.send(request_pdu)
        kind, body = caller.pdu()
        assert kind == 2
        assert body[4:68] == request_pdu[10:74], "titles are repeated as they came (PS3.8 9.3.3)"
        assert raw.answered_contexts(body)[1] == (0, IMPLICIT)
        caller.send(raw.echo(1, number=1))
        assert caller.answer().Status == 0
        caller.send(raw.RELEASE)
        assert caller.pdu()[0] == 6
    node.stop()
    assert node.ledger.queries.jobs() == []


BAD_CONTEXTS = {
    "no transfer syntax": (context(3, CT), 4),
    "invalid transfer syntax": (context(3, CT, "1.2..3"), 4),
    "invalid abstract syntax": (context(3, "1.2.abc", IMPLICIT), 3),
    "empty abstract syntax": (context(3, "", IMPLICIT), 3),
    "no abstract syntax": (item(0x20, bytes((3, 0, 0, 0)) + item(0x40, IMPLICIT.encode())), 3),
    "two abstract syntaxes": (
        item(0x20, bytes((3, 0, 0, 0)) + 2 * item(0x30, CT.encode()) + item(0x40, IMPLICIT.encode())), 3,
    ),
    "abstract syntax of 66 characters": (context(3, "1.2." + "3" * 62, IMPLICIT), 3),
    "an item that is cut off": (item(0x20, bytes((3, 0, 0, 0)) + b"\x30\0\xff\xff1.2"), 3),
    "private class": (context(3, "1.3.12.2.1107.5.9.1", IMPLICIT), 3),
    "an even id": (context(2, "1.2.840.10008.1.20.1", IMPLICIT), 3),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "result"), BAD_CONTEXTS.values(), ids=BAD_CONTEXTS)
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_a_bad_context_is_rejected_and_a_good_one_beside_it_accepted(node, ct_series, bad, result, first):
    good = context(1, CT, EXPLICIT)
    sop_uid, content = raw.data_set(ct_series(1)[0])
    with Caller(node.receiver.port) as caller:
        caller.send(asks([bad, good] if first else [good, bad]))
        kind, body = caller.pdu()
        assert kind == 2
        answers = raw.answered_contexts(body)
        assert answers[1] == (0, EXPLICIT) and answers[bad[4]][0] == result
        caller.send(raw.store(sop_uid, content), raw.RELEASE)
        assert caller.answer().Status == 0
        assert caller.pdu()[0] == 6
    node.stop()
    assert node.only_job().state is JobState.RECEIVED


@pytest.mark.parametrize("number", [0, 2, 255])
def test_any_context_id_is_accepted(node, number):
    with Caller(node.receiver.port) as caller:
        caller.send(asks([context(number, VERIFICATION, IMPLICIT)]))
        assert raw.answered_contexts(caller.pdu()[1])[number] == (0, IMPLICIT)
        caller.send(raw.echo(1, number=number))
        assert caller.answer().Status == 0


REFUSED = {
    "no calling title": (asks(calling=b""), 3, "SCANNER", Reason.REJECTED_PEER, "calling AE title is blank"),
    "another called title": (asks(called=b"QCTNODE\xff"), 3, "SCANNER", Reason.REJECTED_PEER, "the called AE title is"),
    "no application context": (asks(application=""), 3, "SCANNER", Reason.REJECTED_PEER, "application context"),
    "an item longer than the request": (
        raw.pdu(1, asks()[6:] + b"\x20\0\xff\xff"), 7, "SCANNER", Reason.PROTOCOL_FAULT, "0x20 has 0 of 65535 bytes",
    ),
    "a request of 60 bytes": (raw.pdu(1, asks()[6:66]), 7, "", Reason.PROTOCOL_FAULT, "request of 60 bytes"),
    "too large a request": (raw.pdu(1, b"", 10**9), 7, "", Reason.PROTOCOL_FAULT, "a PDU of 1000000000 bytes"),
    "TLS": (b"\x16\3\1\2\0\1\0\1\xfc\3\3" + bytes(64), 7, "", Reason.PROTOCOL_FAULT, "it looks like TLS"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 7, "", Reason.PROTOCOL_FAULT, "it looks like HTTP"),
    "a C-STORE without an association": (raw.echo(), 7, "", Reason.PROTOCOL_FAULT, "other than an association request"),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "kind", "calling", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_a_refused_request_is_a_row_with_its_caller_and_what_is_wrong(node, poll, sent, kind, calling, code, words):
    with Caller(node.receiver.port) as caller:
        caller.send(sent)
        assert caller.ending()[0][0] == kind
    poll(node.ledger.queries.jobs, what="a row")
    row = node.only_job()
    assert (row.state, row.code, row.host) == (JobState.DECLINED, code, "127.0.0.1")
    assert row.calling_ae == (calling if "blank" not in words else "") and words in row.reason


def test_a_fault_within_an_association_is_told_by_its_name(node, ct_series, poll):
    sop_uid, content = raw.data_set(ct_series(1)[0])
    with Caller(node.receiver.port).established() as caller:
        caller.send(raw.store(sop_uid, content))
        assert caller.answer().Status == 0
        caller.send(raw.pdu(4, b"", 10**6))
        assert caller.ending()[0][0] == 7
    [row] = poll(lambda: node.ledger.queries.jobs(JobState.DECLINED), what="a row")
    assert row.code == Reason.PROTOCOL_FAULT and row.reason.endswith("a PDU of 1000000 bytes; the maximum is 262144")
    assert len(node.ledger.queries.jobs(JobState.RECEIVED)) == 1


SR = "1.2.840.10008.5.1.4.1.1.88.67"


def test_ct_that_could_not_be_sent_is_told_while_the_dose_report_arrives(node, ct_series, poll):
    [path] = ct_series(1, SOPClassUID=SR, Modality="SR")
    sop_uid, content = raw.data_set(path)
    offer = (
        context(1, CT, "1.2.840.10008.1.2.4.100"),
        context(3, SR, EXPLICIT),
        context(5, "1.3.12.2.1107.5.9.1", EXPLICIT),
    )
    with Caller(node.receiver.port).established(offer) as caller:
        command = raw.store_command(sop_uid, sop_class=SR)
        caller.send(raw.p_data(raw.pdv(3, raw.COMMAND_END, command)), raw.p_data(raw.pdv(3, raw.DATA_END, content)))
        assert caller.answer().Status == 0
        caller.send(raw.RELEASE)
        assert caller.pdu()[0] == 6
    [row] = poll(lambda: node.ledger.queries.jobs(JobState.DECLINED), what="a row")
    assert row.code == Reason.CONTEXT_REJECTED
    assert "CT Image Storage only in transfer syntaxes that are not taken (MPEG2 Main Profile" in row.reason
