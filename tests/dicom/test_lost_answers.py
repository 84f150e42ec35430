"""A response that pynetdicom's reactor thread takes off the queue must still reach the sender."""

import threading

from pynetdicom import build_context

from node.scu.requestor import open_association

VERIFICATION = "1.2.840.10008.1.1"


def test_responses_reach_the_sender_although_the_reactor_takes_them(node):
    with open_association(node.peer, "SCANNER", [build_context(VERIFICATION)], 5) as association:
        done = threading.Event()

        def react():
            while not done.is_set():
                context_id, message = association.dimse.get_msg(block=False)
                if message:
                    association._serve_request(message, context_id)

        reactor = threading.Thread(target=react)
        reactor.start()
        try:
            assert [association.send_c_echo().get("Status") for _ in range(30)] == [0] * 30
        finally:
            done.set()
            reactor.join()
