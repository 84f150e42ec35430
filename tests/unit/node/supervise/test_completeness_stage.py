"""Series that arrive, slice by slice and association by association, over a real ledger with a hand-held clock."""

import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from find_scp import FindScp, holding, match
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from senders import association

from node.errors import LedgerError
from node.ledger import Ledger
from node.ledger.instances import Instances
from node.records.instances import Arrival, Ending, Header
from node.records.states import JobState
from node.settings.settings import load_settings
from node.supervise.completeness_stage import CompletenessStage
from node.supervise.image_count_query import MAX_CONCURRENT

SERIES = "1.2.3"
QUIET, GIVE_UP, TICK = 10, 600, 0.5


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_seconds(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class CountingInstances(Instances):
    """Counts how often headers are read."""

    looks = 0

    def headers_of(self, job_id: str) -> list[Header]:
        self.looks += 1
        return super().headers_of(job_id)


class Scene:
    """A sender, the ledger and the stage, driven tick by tick."""

    def __init__(self, data: Path, peer=None) -> None:
        self.clock = Clock()
        peers = [] if peer is None else [peer.model_dump()]
        intake = {"quiet_seconds": QUIET, "give_up_seconds": GIVE_UP, "expect_peer": "pacs" if peer else ""}
        settings = load_settings(None, node={"data": data}, peers=peers, intake=intake)
        opened = Ledger.of(settings, self.clock)
        self.instances = CountingInstances(opened.database, opened.associations)
        self.ledger = replace(opened, instances=self.instances)
        self.stage = CompletenessStage(self.ledger, settings)

    def send(self, link, places, series=SERIES, **tags):
        """Let slices 4 mm apart arrive over an association."""
        for n in places:
            header = Header(
                "1.2", series, f"{series}.{n}", CTImageStorage, modality="CT", rows=4, columns=4,
                image_type=("ORIGINAL", "PRIMARY", "AXIAL"), frame_of_reference="1.9", rescale=True,
                position=(0.0, 0.0, 4.0 * n), orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), spacing=(1.0, 1.0), **tags,
            )  # fmt: skip
            self.ledger.instances.record(Arrival(header, ExplicitVRLittleEndian, "x", "0", 1, link))

    def end(self, link, ending=Ending.RELEASED):
        self.ledger.associations.end(link.id, ending)

    def tick(self, seconds=TICK):
        """Let time pass and do what the supervisor does."""
        self.clock.pass_seconds(seconds)
        for job in self.stage.due():
            self.ledger.decisions.apply(job.id, self.stage.judge(job), job)

    def seconds_until(self, state, at_most=60.0):
        """Tick until a job is in a state; return how long it took."""
        start = self.clock()
        while not self.ledger.queries.jobs(state):
            assert self.clock() - start < timedelta(seconds=at_most), self.job().reason
            self.tick()
        return (self.clock() - start).total_seconds()

    def job(self):
        own = [job for job in self.ledger.queries.jobs() if job.series_uid == SERIES]
        [job] = [job for job in own if job.state is not JobState.CANCELLED]
        return job


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def scene_with(tmp_path):
    """Return a function that makes a scene with a peer that is asked."""
    made = []

    def make(peer):
        made.append(Scene(tmp_path, peer))
        return made[-1]

    yield make
    for each in made:
        each.ledger.close()


@pytest.fixture
def pacs():
    """Start an archive that has so many images of every series."""
    started = []

    def start(count):
        started.append(FindScp(holding(count)))
        return started[-1]

    yield start
    for each in started:
        each.stop()


# --- without a peer


def test_a_whole_series_starts_within_two_seconds_of_the_release(scene):
    link = association()
    scene.send(link, range(30))
    scene.tick()
    assert scene.job().reason == "waiting: the association is still open"
    scene.end(link)
    assert scene.seconds_until(JobState.COMPLETE) <= 2 - TICK
    assert scene.job().reason == ""
    assert [event.state for event in scene.ledger.queries.events(scene.job().id)] == ["received", "complete"]


def test_a_sender_with_one_association_per_image_starts_no_half_job_and_is_not_looked_at_all_the_time(scene):
    for n in range(40):
        link = association()
        scene.send(link, [n])
        scene.end(link)
        scene.tick(0.7)
        assert scene.job().state is JobState.RECEIVED
    assert scene.instances.looks == 0
    assert scene.seconds_until(JobState.COMPLETE) <= 2 - TICK
    assert scene.instances.looks <= 2


def test_a_series_split_over_two_associations_one_after_the_other_is_one_job(scene):
    first, second = association(), association()
    scene.send(first, range(25))
    scene.end(first)
    scene.tick(0.8)
    scene.send(second, range(25, 50))
    for _ in range(10):
        scene.tick()
        assert scene.job().state is JobState.RECEIVED
    scene.end(second)
    scene.seconds_until(JobState.COMPLETE)
    assert (scene.job().revision, scene.job().instances) == (1, 50)


def test_while_the_sender_still_sends_another_series_nothing_starts_in_haste(scene):
    own, more = association(), association()
    scene.send(own, range(30))
    scene.send(more, range(5), "1.2.4")
    scene.end(own)
    scene.tick(2)
    assert scene.job().reason == "waiting: its sender has another association open"
    scene.end(more)
    scene.tick(2)
    assert scene.job().state is JobState.COMPLETE


def test_after_an_abort_the_series_must_be_quiet(scene):
    link = association()
    scene.send(link, range(30))
    scene.end(link, Ending.ABORTED)
    assert scene.seconds_until(JobState.COMPLETE) == QUIET


def test_a_gap_is_waited_for_then_held_and_its_slice_mends_it(scene):
    link = association()
    scene.send(link, [n for n in range(30) if n != 7])
    scene.end(link)
    scene.tick(2)
    assert scene.job().reason == "waiting: slice 8 is missing between z=24.0 and z=32.0 mm"
    scene.tick(QUIET)
    assert scene.job().state is JobState.RECEIVED
    scene.tick(GIVE_UP)
    assert (scene.job().state, scene.job().code) == (JobState.HELD, "gap")
    late = association()
    scene.send(late, [7])
    scene.end(late)
    scene.tick(2)
    assert (scene.job().state, scene.job().revision) == (JobState.COMPLETE, 2)


def test_a_series_that_never_gets_quiet_is_held_and_goes_on_by_itself_when_it_does(scene):
    link = association()
    for n in range(GIVE_UP // 5 + 3):
        scene.send(link, [n])
        scene.tick(5)
    held = scene.job()
    assert (held.state, held.code, held.revision) == (JobState.HELD, "still-arriving", 1)
    scene.end(link)
    scene.seconds_until(JobState.COMPLETE)
    assert (scene.job().revision, scene.job().instances) == (1, GIVE_UP // 5 + 3)


def test_a_person_starts_what_waits(scene):
    link = association()
    scene.send(link, range(30), series_instances=300)
    scene.end(link)
    scene.tick(2)
    assert scene.job().reason == "waiting: 30 of 300 images (Number of Series Related Instances)"
    scene.ledger.operator.release(scene.job().id, "tester")
    scene.tick()
    assert scene.job().state is JobState.COMPLETE


def test_headers_are_read_only_when_the_decision_could_be_another_one(scene):
    link = association()
    for n in range(0, 40, 2):
        scene.send(link, [n, n + 1] if n != 20 else [n])
        scene.tick()
    assert scene.instances.looks == 0
    scene.end(link)
    for _ in range(2 * GIVE_UP):
        scene.tick()
    assert scene.job().state is JobState.HELD
    assert scene.instances.looks <= 5  # in the grace, after it, quiet, given up


def test_a_ledger_that_was_away_is_asked_again(scene, monkeypatch):
    link = association()
    scene.send(link, range(30))
    scene.end(link)
    with monkeypatch.context() as away:

        def fail(_job_id):
            raise LedgerError("the ledger does not answer", retry=True)

        away.setattr(scene.instances, "headers_of", fail)
        scene.tick(0.1)
        with pytest.raises(LedgerError):
            scene.tick(2)
    scene.tick()
    assert scene.job().state is JobState.COMPLETE


# --- with a peer that is asked


@pytest.fixture
def until(poll):
    """Tick with the clock standing, while the peer takes its time, until the job is in a state or waits for a thing."""

    def wait(scene, awaited):
        poll(lambda: scene.tick(0) or awaited in (scene.job().state, scene.job().reason), 10, awaited)

    return wait


def test_a_peer_that_has_no_more_lets_the_series_start_at_once(scene_with, pacs, until):
    archive = pacs(30)
    scene, link = scene_with(archive.peer), association()
    scene.send(link, range(30))
    scene.end(link)
    scene.tick()
    scene.tick()
    scene.tick()
    until(scene, JobState.COMPLETE)
    assert (scene.job().expected, archive.asked) == (30, ["SERIES"])


def test_a_peer_that_has_more_is_asked_again_until_all_have_arrived(scene_with, pacs, until):
    archive = pacs(40)
    scene, link = scene_with(archive.peer), association()
    scene.send(link, range(30))
    scene.end(link, Ending.ABORTED)
    scene.tick(QUIET + 1)
    assert scene.job().reason == "waiting: pacs is asked how many images the series has"
    until(scene, "waiting: 30 of 40 images (pacs)")
    archive.answers = holding(41)
    scene.tick(4)
    assert len(archive.asked) == 1
    scene.tick(2)
    until(scene, "waiting: 30 of 41 images (pacs)")
    more = association()
    scene.send(more, range(30, 41))
    scene.end(more)
    scene.tick(QUIET + 1)
    until(scene, JobState.COMPLETE)
    assert len(archive.asked) == 3


def test_what_a_peer_has_and_never_sends_is_held_at_last(scene_with, pacs, until):
    scene, link = scene_with(pacs(300).peer), association()
    scene.send(link, range(30))
    scene.end(link)
    scene.tick(2)
    scene.tick(2)
    until(scene, "waiting: 30 of 300 images (pacs)")
    scene.tick(GIVE_UP)
    job = scene.job()
    assert (job.state, job.code) == (JobState.HELD, "incomplete")
    assert job.reason == "30 of 300 images arrived (pacs says 300); `release` segments what is here"


@pytest.mark.parametrize("ending", [Ending.RELEASED, Ending.ABORTED])
def test_a_peer_that_is_away_delays_nothing_else_and_this_no_longer_than_the_quiet_time(scene_with, pacs, ending):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        peer = pacs(1).peer.model_copy(update={"port": mute.getsockname()[1]})
        scene, link = scene_with(peer), association()
        scene.send(link, range(30))
        scene.end(link, ending)
        patience = QUIET if ending is Ending.RELEASED else 2 * QUIET
        assert scene.seconds_until(JobState.COMPLETE) <= patience + 2
    assert scene.job().expected is None


def test_a_peer_that_refuses_lets_the_series_start_and_is_named_in_the_log(scene_with, free_port, pacs, until, caplog):
    peer = pacs(1).peer.model_copy(update={"port": free_port()})
    scene, link = scene_with(peer), association()
    scene.send(link, range(30))
    scene.end(link)
    scene.tick(2)
    scene.tick()
    until(scene, JobState.COMPLETE)
    assert "nothing listens there" in caplog.text


def test_only_series_that_look_whole_are_asked_about_and_not_all_at_once(scene_with, poll):
    busy = []

    def answers(asked):
        busy.append(asked.SeriesInstanceUID)
        poll(lambda: None in busy, 20, "the end of the test")
        yield match(asked, NumberOfSeriesRelatedInstances=30)

    archive = FindScp(answers)
    scene = scene_with(archive.peer)
    for n in range(MAX_CONCURRENT + 3):
        link = association()
        scene.send(link, range(30) if n else [*range(10), *range(12, 30)], f"1.9.{n}")
        scene.end(link)
    scene.tick(2)
    scene.tick()
    poll(lambda: len(busy) == MAX_CONCURRENT, 10, "the first questions")
    scene.tick()
    busy.append(None)
    poll(
        lambda: scene.tick(0) or len(scene.ledger.queries.jobs(JobState.COMPLETE)) == MAX_CONCURRENT + 2,
        10,
        "all answers",
    )
    assert "1.9.0" not in busy
    assert scene.ledger.queries.jobs(JobState.RECEIVED)[0].series_uid == "1.9.0"
    archive.stop()


def test_a_person_who_releases_does_not_wait_for_the_peer(scene_with, pacs):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        scene, link = scene_with(pacs(1).peer.model_copy(update={"port": mute.getsockname()[1]})), association()
        scene.send(link, range(30))
        scene.tick()
        scene.ledger.operator.release(scene.job().id, "tester")
        scene.tick()
        assert scene.job().state is JobState.COMPLETE
