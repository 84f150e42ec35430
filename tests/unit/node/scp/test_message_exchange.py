"""Requests assembled from fragments and answered by the service of their presentation context."""

import pytest
from raw_caller import CT, EXPLICIT, IMPLICIT, VERIFICATION, echo_command, elements, store_command
from senders import accepted, association

from node.dicom.dimse import C_ECHO_RQ, C_STORE_RQ, Request
from node.dicom.pdu import Fragment, ProtocolError
from node.errors import StoreStatus
from node.scp.message_exchange import MessageExchange
from node.scp.services import STORAGE_CLASSES, UNCOMPRESSED, accepted_syntaxes, service_table


class Recorder:
    """A storage service that keeps what it is given."""

    command = C_STORE_RQ
    transfer_syntaxes = ("1.2.3",)

    def __init__(self):
        self.requests: list[tuple[Request, str]] = []
        self.pieces: list[bytes] = []
        self.discarded = 0

    def begin(self, _association, request, context):
        self.requests.append((request, context.transfer_syntax))
        return self

    def write(self, piece):
        self.pieces.append(bytes(piece))

    def finish(self):
        return StoreStatus.OUT_OF_RESOURCES, "full"

    def discard(self):
        self.discarded += 1


@pytest.fixture
def storage():
    return Recorder()


@pytest.fixture
def exchange(storage):
    contexts = {1: accepted(CT, EXPLICIT), 3: accepted(VERIFICATION, IMPLICIT)}
    return MessageExchange(service_table(storage), association(), contexts, 0)


def command(number, data, *, last=True):
    return Fragment(number, True, last, memoryview(data))


def data(number, content, *, last=True):
    return Fragment(number, False, last, memoryview(content))


def test_the_table_holds_verification_and_all_storage_classes(storage):
    found = accepted_syntaxes(service_table(storage))
    assert found == {VERIFICATION: UNCOMPRESSED} | dict.fromkeys(STORAGE_CLASSES, ("1.2.3",))


def test_a_data_set_goes_to_the_service_of_its_context(exchange, storage):
    sent = store_command("1.2.3")
    assert exchange.receive(command(1, sent[:20], last=False)) is None
    assert exchange.receive(command(1, sent[20:])) is None
    assert exchange.receive(data(1, b"one", last=False)) is None
    response = exchange.receive(data(1, b"two"))
    assert response is not None and b"full" in response
    [(request, syntax)] = storage.requests
    assert (request.field, request.sop_instance_uid, syntax) == (C_STORE_RQ, "1.2.3", EXPLICIT)
    assert (storage.pieces, exchange.responses, exchange.stored_classes) == ([b"one", b"two"], 1, set())
    exchange.discard()
    assert storage.discarded == 0, "the operation is complete"


@pytest.mark.parametrize("number", [1, 3])
def test_an_echo_is_answered_in_every_context(exchange, storage, number):
    response = exchange.receive(command(number, echo_command()))
    assert response is not None and (C_ECHO_RQ | 0x8000).to_bytes(2, "little") in response
    assert (storage.requests, exchange.responses) == ([], 1)


CANCEL = elements({0x0100: 0x0FFF, 0x0120: 7, 0x0800: 0x0101})


def test_a_cancellation_is_ignored_also_within_an_object(exchange, storage):
    assert exchange.receive(command(1, CANCEL)) is None
    exchange.receive(command(1, store_command("1.2.3")))
    exchange.receive(data(1, b"one", last=False))
    assert exchange.receive(command(3, CANCEL)) is None
    assert exchange.receive(data(1, b"two")) is not None
    assert (storage.pieces, exchange.responses) == ([b"one", b"two"], 1)


def test_an_object_that_is_not_complete_is_discarded(exchange, storage):
    exchange.receive(command(1, store_command("1.2.3")))
    exchange.receive(data(1, b"one", last=False))
    exchange.discard()
    assert (storage.discarded, exchange.responses) == (1, 0)


@pytest.mark.parametrize(
    "fragments",
    [
        [command(5, echo_command())],
        [command(3, store_command("1.2.3"))],
        [command(1, store_command("1.2.3", e0100=0x0020))],
        [data(1, b"one")],
        [command(1, store_command("1.2.3")), data(3, b"one")],
        [command(1, store_command("1.2.3")), command(1, echo_command())],
        [command(1, b"\0\0", last=False), command(3, b"\0\0")],
        [command(1, bytes(20_000), last=False)],
    ],
    ids=[
        "context not accepted", "C-STORE in a Verification context", "C-FIND in a Storage context", "no command",
        "data set in another context", "command in a data set", "command in two contexts", "endless command",
    ],
)  # fmt: skip
def test_what_the_protocol_does_not_allow(exchange, fragments):
    *allowed, wrong = fragments
    for fragment in allowed:
        exchange.receive(fragment)
    with pytest.raises(ProtocolError):
        exchange.receive(wrong)
