from senders import association

from node.records.states import Reason
from node.scp.rate_limit import EVENTS, RateLimit
from node.scp.refusals import RefusalLog


def test_each_address_has_its_own_limit():
    rate_limit = RateLimit(3)
    assert [rate_limit.allows("10.0.0.7") for _ in range(5)] == [True] * 3 + [False] * 2
    assert rate_limit.allows("10.0.0.8")


def test_the_count_starts_again_after_the_period(poll):
    rate_limit = RateLimit(1, seconds=0.1)
    assert rate_limit.allows("10.0.0.7") and not rate_limit.allows("10.0.0.7")
    poll(lambda: rate_limit.allows("10.0.0.7"), what="the end of the period")


def test_only_new_rows_count_if_they_are_named():
    rate_limit = RateLimit(2)
    events = [rate_limit.allows("10.0.0.7", row) for row in ("a", "a", "b", "c", "a", "b", "c")]
    assert events == [True, True, True, False, True, True, False]


def test_the_first_event_beyond_the_limit_is_told():
    rate_limit = RateLimit(2)
    told = []
    for _ in range(5):
        rate_limit.allows("10.0.0.7")
        told.append(rate_limit.just_exceeded("10.0.0.7"))
    assert told == [False, False, True, False, False] and not rate_limit.just_exceeded("10.0.0.8")


class Rows:
    """Stands for the ledger and counts the rows of refusals."""

    def __init__(self):
        self.decisions, self.refusals = self, []

    def record_refusal(self, refusal):
        self.refusals.append(refusal)


def test_all_addresses_of_one_ipv6_network_share_a_limit():
    rows = Rows()
    refusals = RefusalLog(rows)
    for number in range(300):
        refusals.record(association(f"AE{number}", f"2001:db8::{number:x}"), Reason.REJECTED_PEER, "rejected")
    assert len(rows.refusals) == EVENTS
    refusals.record(association("OTHER", "2001:db8:0:1::1"), Reason.REJECTED_PEER, "rejected")
    assert len(rows.refusals) == EVENTS + 1
