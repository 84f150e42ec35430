"""The admission policy as a table: titles, addresses, host names and slots (PS3.8 table 9-21)."""

import socket

import pytest
from raw_caller import request

from node.dicom.association_request import decode_association_request
from node.hosts import HostAddresses
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
UNRESOLVED = (2, 3, 1)  # for now: it may be the peer


@pytest.fixture
def make_policy(tmp_path, monkeypatch):
    """Return a function that makes an admission policy with so many slots."""
    monkeypatch.chdir(tmp_path)
    made = []

    def make(peers=(), slots=4, **intake):
        made.append(AssociationSlots(slots))
        return AdmissionPolicy(load_settings(None, peers=list(peers), intake=intake), made[-1])

    yield make
    for table in made:
        table.close()


def asks(policy, calling="CT1", host="10.0.0.7", own_host="10.0.0.1", **options):
    return policy.admit(decode_association_request(request(calling=calling, **options)[6:]), host, own_host)


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
        ("GONE", "10.0.0.7", UNRESOLVED),
        ("NOBODY", "10.0.0.7", STRANGER),
        ("QCTNODE", "10.0.0.1", "in"),
        ("QCTNODE", "::ffff:10.0.0.1", "in"),
        ("QCTNODE", "10.0.0.7", STRANGER),
    ],
)
def test_with_peers_only_they_and_this_node_are_accepted(make_policy, calling, host, expected):
    assert code(asks(make_policy(EVERYBODY), calling, host)) == expected


@pytest.mark.parametrize(
    ("peers", "intake", "expected"),
    [
        ([], {}, "in"),
        ([CT1], {}, STRANGER),
        ([CT1], {"accept_unknown_peers": True}, "in"),
        ([], {"accept_unknown_peers": False}, STRANGER),
    ],
)
def test_everybody_is_accepted_until_there_are_peers_or_as_set(make_policy, peers, intake, expected):
    assert code(asks(make_policy(peers, **intake), "NOBODY", "10.9.9.9")) == expected


def test_a_peer_may_have_several_addresses(make_policy):
    policy = make_policy(TWO)
    assert [code(asks(policy, host=host)) for host in ("10.0.0.7", "10.0.0.8", "10.0.0.9")] == ["in", "in", STRANGER]


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
        ({"calling": ""}, STRANGER),
    ],
)
def test_the_protocol_is_checked_first(make_policy, options, expected):
    policy = make_policy([CT1])
    calling = options.pop("calling", "CT1")
    assert code(asks(policy, calling, **options)) == expected


def test_rejections_have_a_helpful_sentence_and_the_right_result(make_policy):
    policy = make_policy(EVERYBODY)
    elsewhere = asks(policy, host="10.9.9.9")
    assert (
        elsewhere.sentence == "association rejected: the peer CT1 is configured at 10.0.0.7, but called from 10.9.9.9"
    )
    nobody = asks(policy, "NOBODY")
    assert "not among the peers" in nobody.sentence and "accept_unknown_peers" in nobody.sentence
    assert elsewhere.code == nobody.code == Reason.REJECTED_PEER


def test_all_slots_and_those_of_a_peer(make_policy):
    policy = make_policy([CT1 | {"maximum_associations": 2}, PACS], slots=3)
    assert [code(asks(policy)) for _ in range(3)] == ["in", "in", FULL]
    assert "of the peer" in asks(policy).sentence
    assert code(asks(policy, "PACS", "127.0.0.1")) == "in"
    full = asks(policy, "PACS", "127.0.0.1")
    assert code(full) == FULL and "intake.maximum_associations" in full.sentence


def test_a_rejected_association_uses_no_slot(make_policy):
    policy = make_policy([CT1], slots=1)
    assert {code(asks(policy, "NOBODY")) for _ in range(5)} == {STRANGER}
    assert code(asks(policy)) == "in"


def test_unknown_callers_do_not_count_for_the_limit_of_a_peer(make_policy):
    policy = make_policy([CT1 | {"maximum_associations": 1}], slots=5, accept_unknown_peers=True)
    assert [code(asks(policy, "NOBODY")) for _ in range(2)] == ["in", "in"]
    assert [code(asks(policy)) for _ in range(2)] == ["in", FULL]
    assert code(asks(policy, host="10.9.9.9")) == "in", "the title alone does not make it the peer"


def test_an_address_has_a_share_whatever_titles_it_invents(make_policy):
    policy = make_policy(slots=8, maximum_associations=8)
    assert [code(asks(policy, f"E{n}", "10.9.9.9")) for n in range(6)] == ["in"] * 4 + [FULL] * 2
    assert "intake.maximum_per_address" in asks(policy, "E9", "10.9.9.9").sentence
    assert code(asks(policy, "SCANNER", "10.0.0.7")) == "in"


def test_the_share_of_an_address_can_be_set(make_policy):
    policy = make_policy(slots=8, maximum_associations=8, maximum_per_address=8)
    assert [code(asks(policy, f"E{n}", "10.9.9.9")) for n in range(9)] == ["in"] * 8 + [FULL]


def test_an_ipv6_network_is_one_address(make_policy):
    policy = make_policy(slots=8, maximum_associations=8)
    assert [code(asks(policy, "E", f"2001:db8::{n}")) for n in range(6)] == ["in"] * 4 + [FULL] * 2
    assert code(asks(policy, "E", "2001:db8:0:1::1")) == "in"


def test_unknown_senders_leave_a_quarter_to_the_peers(make_policy):
    policy = make_policy([CT1], slots=8, maximum_associations=8, accept_unknown_peers=True)
    assert [code(asks(policy, "NOBODY", f"10.9.9.{n}")) for n in range(8)] == ["in"] * 6 + [FULL] * 2
    assert [code(asks(policy)) for _ in range(3)] == ["in", "in", FULL]


TITLES = {"further_ae_titles": ["OLDNAME"]}
ROUTES = [{"name": "trial", "called_ae": ["QCTTRIAL", "TRIAL*"]}, {"name": "rest"}]


@pytest.mark.parametrize(
    ("called", "expected"),
    [("QCTNODE", "in"), ("OLDNAME", "in"), ("QCTTRIAL", "in"), ("TRIAL7", "in"), ("OTHER", CALLED), ("", CALLED)],
)
def test_the_node_answers_to_its_further_titles_and_those_of_routes(tmp_path, monkeypatch, called, expected):
    monkeypatch.chdir(tmp_path)
    slots = AssociationSlots(4)
    policy = AdmissionPolicy(load_settings(None, node=TITLES, routes=ROUTES), slots)
    found = asks(policy, called=called)
    assert code(found) == expected
    if expected == CALLED:
        assert found.sentence.endswith("but ours are QCTNODE, OLDNAME, QCTTRIAL, TRIAL*")
    slots.close()


def test_the_last_address_is_kept_while_a_host_name_cannot_be_resolved(make_policy, monkeypatch, caplog):
    monkeypatch.setattr("node.hosts.LOOKUP_SECONDS", 0)
    monkeypatch.setattr("node.scp.admission.HOSTS", HostAddresses())
    policy = make_policy([PACS])
    assert code(asks(policy, "PACS", "127.0.0.1")) == "in"

    def no_answer(*_, **_options):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    assert code(asks(policy, "PACS", "127.0.0.1")) == "in"
    assert "localhost of a peer cannot be resolved" in caplog.text and "its last address is kept" in caplog.text


def test_a_host_name_that_was_never_resolved_is_told(make_policy):
    found = asks(make_policy([GONE]), "GONE")
    assert "the host name of the peer GONE, no-such-host.invalid, cannot be resolved" in found.sentence
