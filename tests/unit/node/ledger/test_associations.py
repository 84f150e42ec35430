"""Associations, from the first object to the end."""

import itertools
import sys
import threading

from ledger_steps import carry, evidence
from senders import association

from node.records.instances import Ending


def test_an_association_of_a_dead_receiver_has_broken_off(ledger, clock):
    carry(ledger, association(receiver="scp@here:1"), 1)
    carry(ledger, association(receiver="scp@here:2"), 2, "1.2.4")
    assert ledger.associations.end_lost(["scp@here:2"]) == 1
    assert (evidence(ledger).open, evidence(ledger).broken) == (0, True)
    assert (evidence(ledger, "1.2.4").open, evidence(ledger, "1.2.4").broken) == (1, False)


def test_an_association_ends_while_others_begin(ledger):
    known = ledger.associations
    known.remember({(f"a{number}", 1) for number in range(20_000)})
    done = threading.Event()

    def begin():
        for number in itertools.count():
            if done.is_set():
                return
            known.remember({(f"b{number}", 1)})

    usual, thread = sys.getswitchinterval(), threading.Thread(target=begin)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for number in range(10):
            known.end(f"a{number}", Ending.RELEASED)
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(usual)
    assert ("a9", 1) not in known._links and ("a10", 1) in known._links
