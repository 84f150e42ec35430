"""A scanner that sends in groups while it reconstructs, an association each: one job, not one for each group."""

from dataclasses import replace

import pytest
from ledger_steps import Clock
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from senders import association

from node.ledger import Ledger
from node.records.instances import Arrival, Ending, Header
from node.records.states import JobState
from node.settings.settings import load_settings
from node.supervise.completeness_stage import CompletenessStage

TICK = 0.5


class Scanner:
    """Sends slices 2.5 mm apart to a real ledger, with a hand-held clock."""

    def __init__(self, data, **intake):
        settings = load_settings(None, node={"data": data}, intake=intake)
        self.clock = Clock()
        self.ledger = Ledger.of(settings, self.clock)
        self.stage = CompletenessStage(self.ledger, settings)

    def send(self, places, calling_ae="SCANNER"):
        link = replace(association(calling_ae), started_at=self.clock())
        self.clock.push(0.2)
        for n in places:
            header = Header(
                "1.2", "1.2.3", f"1.2.3.{n}", CTImageStorage, modality="CT", rows=4, columns=4,
                frame_of_reference="1.9", rescale=True, position=(0.0, 0.0, 2.5 * n),
                orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), spacing=(1.0, 1.0),
            )  # fmt: skip
            self.ledger.instances.record(Arrival(header, ExplicitVRLittleEndian, f"inbox/{n}", f"{n}", 1, link))
        self.ledger.associations.end(link.id, Ending.RELEASED)

    def wait(self, seconds):
        for _ in range(int(seconds / TICK)):
            self.clock.push(TICK)
            for job in self.stage.due():
                self.ledger.decisions.apply(job.id, self.stage.judge(job), job)

    def states(self):
        return [job.state for job in sorted(self.ledger.queries.jobs(), key=lambda job: job.revision)]


@pytest.fixture
def scanner(tmp_path):
    made = Scanner(tmp_path)
    yield made
    made.ledger.close()


@pytest.mark.parametrize(("group", "pause"), [(12, 22), (12, 5), (9, 28)])
def test_groups_with_pauses_become_one_job(scanner, group, pause):
    for first in range(0, 72, group):
        scanner.send(range(first, first + group))
        scanner.wait(pause)
        assert scanner.states() == [JobState.RECEIVED]
    scanner.wait(1.5 * pause)
    assert scanner.states() == [JobState.COMPLETE]


def test_a_first_group_that_is_no_stack_is_declined_and_the_rest_is_one_job(scanner):
    for first in range(0, 72, 6):
        scanner.send(range(first, first + 6))
        scanner.wait(25)
    scanner.wait(40)
    assert scanner.states() == [JobState.DECLINED, JobState.COMPLETE]


def test_after_one_early_start_the_sender_is_known(scanner):
    """The first group is as long as a scan could be: nothing tells that more will come."""
    for first in range(0, 96, 24):
        scanner.send(range(first, first + 24))
        scanner.wait(22)
    scanner.wait(40)
    assert scanner.states() == [JobState.CANCELLED, JobState.COMPLETE]


def test_a_slice_of_another_sender_in_a_decided_series_waits_for_a_person(scanner):
    scanner.send(range(60))
    scanner.wait(3)
    assert scanner.states() == [JobState.COMPLETE]
    scanner.send([60], "STRANGER")
    scanner.wait(60)
    [_, held] = sorted(scanner.ledger.queries.jobs(), key=lambda job: job.revision)
    assert (held.state, held.code) == (JobState.HELD, "other-sender")
    scanner.ledger.operator.release(held.id, "tester")
    scanner.wait(1)
    assert scanner.states()[1] is JobState.COMPLETE
