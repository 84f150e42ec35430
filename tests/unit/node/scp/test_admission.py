"""Who may come in, as a table: titles, addresses, host names and places (PS3.8 table 9-21)."""

import pytest
from raw_caller import request

from node.dicom.negotiation import decode_association_request
from node.records.states import Reason
from node.scp.admission import AdmissionPolicy, Rejection
from node.scp.association_slots import AssociationSlots
from node.settings.settings import load_settings

CT1 = {"name": "ct1", "ae_title": "CT1", "host": "10.0.0.7", "port": 104}
PACS = {"name": "pacs", "ae_title": "PACS", "host": "localhost", "port": 104}
SIX = {"name": "six", "ae_title": "SIX", "host": "2001:DB8::0:7", "port": 104}
LINK = {"name": "link", "ae_title": "LINK", "host": "fe80::1", "port": 104}
GONE = {"name": "gone", "ae_title": "GONE", "host": "no-such-host.invalid", "port": 104}
TWO = [CT1, CT1 | {"name": "ct1b", "host": "10.0.0.8"}]
EVERYBODY = [CT1, PACS, SIX, LINK, GONE]

VERSION, APPLICATION, CALLED, STRANGER, FULL = (1, 2, 2), (1, 1, 2), (1, 1, 7), (1, 1, 3), (2, 3, 2)


@pytest.fixture
def door(tmp_path, monkeypatch):
    """Return a function that makes a admission with so many places."""
    monkeypatch.chdir(tmp_path)
    made = []

    def make(peers=(), places=4, **intake):
        made.append(AssociationSlots(places))
        return AdmissionPolicy(load_settings(None, peers=list(peers), intake=intake), made[-1])

    yield make
    for slots in made:
        slots.close()


def asks(admission, calling="CT1", host="10.0.0.7", own_host="10.0.0.1", **options):
    return admission.admit(decode_association_request(request(calling=calling, **options)[6:]), host, own_host)


def code(found):
    return (found.result, found.source, found.diagnostic) if isinstance(found, Rejection) else "in"


@pytest.mark.parametrize(
    ("calling", "host", "expected"),
    [
        ("CT1", "10.0.0.7", "in"),
        ("CT1", "::ffff:10.0.0.7", "in"),
        ("CT1", "10.0.0.8", STRANGER),
        ("CT1", "", STRANGER),
        ("ct1", "10.0.0.7", STRANGER),
        (" CT1 ", "10.0.0.7", "in"),
        ("PACS", "127.0.0.1", "in"),
        ("PACS", "::ffff:127.0.0.1", "in"),
        ("PACS", "10.0.0.7", STRANGER),
        ("SIX", "2001:db8::7", "in"),
        ("SIX", "2001:db8:0:0:0:0:0:7", "in"),
        ("SIX", "2001:db8::8", STRANGER),
        ("LINK", "fe80::1%eth0", "in"),
        ("GONE", "10.0.0.7", STRANGER),
        ("NOBODY", "10.0.0.7", STRANGER),
        ("QCTNODE", "10.0.0.1", "in"),
        ("QCTNODE", "::ffff:10.0.0.1", "in"),
        ("QCTNODE", "10.0.0.7", STRANGER),
    ],
)
def test_with_peers_only_they_and_we_ourselves_come_in(door, calling, host, expected):
    assert code(asks(door(EVERYBODY), calling, host)) == expected


@pytest.mark.parametrize(
    ("peers", "intake", "expected"),
    [
        ([], {}, "in"),
        ([CT1], {}, STRANGER),
        ([CT1], {"accept_unknown_peers": True}, "in"),
        ([], {"accept_unknown_peers": False}, STRANGER),
    ],
)
def test_the_door_is_open_until_there_are_peers_or_as_set(door, peers, intake, expected):
    assert code(asks(door(peers, **intake), "NOBODY", "10.9.9.9")) == expected


def test_a_peer_may_have_several_addresses(door):
    admission = door(TWO)
    assert [code(asks(admission, host=host)) for host in ("10.0.0.7", "10.0.0.8", "10.0.0.9")] == ["in", "in", STRANGER]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"called": "ORTHANC"}, CALLED),
        ({"called": "qctnode"}, CALLED),
        ({"called": " QCTNODE"}, "in"),
        ({"application": "1.2.840.10008.3.1.1.2"}, APPLICATION),
        ({"version": 0}, VERSION),
        ({"version": 2}, VERSION),
        ({"version": 3}, "in"),
        ({"version": 2, "application": "1.2", "called": "X"}, VERSION),
        ({"application": "1.2", "called": "X"}, APPLICATION),
        ({"called": "X", "calling": "NOBODY"}, CALLED),
    ],
)
def test_what_is_wrong_with_the_call_itself_comes_first(door, options, expected):
    admission = door([CT1])
    calling = options.pop("calling", "CT1")
    assert code(asks(admission, calling, **options)) == expected


def test_reasons_help_and_are_of_the_right_kind(door):
    admission = door(EVERYBODY)
    elsewhere = asks(admission, host="10.9.9.9")
    assert (
        elsewhere.sentence == "association rejected: the peer CT1 is configured at 10.0.0.7, but called from 10.9.9.9"
    )
    nobody = asks(admission, "NOBODY")
    assert "not among the peers" in nobody.sentence and "accept_unknown_peers" in nobody.sentence
    assert elsewhere.code == nobody.code == Reason.REJECTED_PEER


def test_all_places_and_those_of_a_peer(door):
    admission = door([CT1 | {"maximum_associations": 2}, PACS], places=3)
    assert [code(asks(admission)) for _ in range(3)] == ["in", "in", FULL]
    assert "of the peer" in asks(admission).sentence
    assert code(asks(admission, "PACS", "127.0.0.1")) == "in"
    full = asks(admission, "PACS", "127.0.0.1")
    assert code(full) == FULL and "intake.maximum_associations" in full.sentence


def test_who_is_refused_takes_no_place(door):
    admission = door([CT1], places=1)
    assert {code(asks(admission, "NOBODY")) for _ in range(5)} == {STRANGER}
    assert code(asks(admission)) == "in"


def test_strangers_at_one_address_share_no_limit_of_a_peer(door):
    admission = door([CT1 | {"maximum_associations": 1}], places=5, accept_unknown_peers=True)
    assert [code(asks(admission, "NOBODY")) for _ in range(2)] == ["in", "in"]
    assert [code(asks(admission)) for _ in range(2)] == ["in", FULL]
    assert code(asks(admission, host="10.9.9.9")) == "in", "the title alone does not make it the peer"
