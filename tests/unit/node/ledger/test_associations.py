"""Associations, from the first object to the end."""

from ledger_steps import carry, evidence
from senders import association


def test_an_association_of_a_dead_receiver_has_broken_off(ledger, clock):
    carry(ledger, association(receiver="scp@here:1"), 1)
    carry(ledger, association(receiver="scp@here:2"), 2, "1.2.4")
    assert ledger.associations.end_lost(["scp@here:2"]) == 1
    assert (evidence(ledger).open, evidence(ledger).broken) == (0, True)
    assert (evidence(ledger, "1.2.4").open, evidence(ledger, "1.2.4").broken) == (1, False)
