import pytest

from node.records.states import JOB_TRANSITIONS, UNFINISHED, JobState, may_become

S = JobState

# from -> to, one line per state: the whole machine, written down a second time on purpose
TABLE = """
received   -> complete declined held cancelled
complete   -> queued declined held cancelled
queued     -> running declined held cancelled
running    -> queued delivering delivered declined held failed cancelled
delivering -> delivered failed cancelled
delivered  -> committed
committed  ->
declined   -> received complete
held       -> received complete queued declined cancelled
failed     -> queued delivering cancelled
cancelled  -> received
"""


def expected():
    lines = [line.split("->") for line in TABLE.strip().splitlines()]
    return {S(left.strip()): {S(word) for word in right.split()} for left, right in lines}


@pytest.mark.parametrize("state", JobState)
def test_every_transition_is_as_written(state):
    assert {target for target in JobState if may_become(state, target)} == expected()[state]


def test_every_state_can_be_reached_from_received():
    reached, frontier = {S.RECEIVED}, [S.RECEIVED]
    while frontier:
        new = JOB_TRANSITIONS[frontier.pop()] - reached
        reached |= new
        frontier.extend(new)
    assert reached == set(JobState)


def test_what_is_unfinished_can_be_superseded():
    assert all(may_become(state, S.CANCELLED) for state in UNFINISHED)
