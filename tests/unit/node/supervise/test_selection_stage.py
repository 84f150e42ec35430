"""The choice among the series of a study, by ticks of a supervisor over a real ledger with a hand-held clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ledger_steps import finish_job
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from senders import association
from sqlalchemy import update

from node.ledger import Ledger
from node.ledger.tables import jobs
from node.records.instances import Arrival, Ending, Header
from node.records.jobs import Decision
from node.records.results import Result
from node.records.states import JobState, Reason
from node.settings.settings import load_settings
from node.supervise.selection_stage import SelectionStage
from node.supervise.supervisor import Supervisor

QUIET, GIVE_UP = 10, 100


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_seconds(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Remembers:
    """A broker that takes every message."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def segment(self, job_id: str) -> None:
        self.jobs.append(job_id)

    def deliver(self, delivery_id: int) -> None:
        raise AssertionError(f"nobody delivers here, not even {delivery_id}")


class Study:
    """Sends series of one study to a node without a network, and looks what became of them."""

    def __init__(self, folder: Path, **settings) -> None:
        self.clock = Clock()
        intake = {"quiet_seconds": QUIET, "give_up_seconds": GIVE_UP, **settings.pop("intake", {})}
        self.settings = load_settings(None, node={"data": folder}, intake=intake, **settings)
        self.ledger = Ledger.of(self.settings, self.clock)
        self.broker = Remembers()
        self.supervisor = Supervisor(self.ledger, self.settings, self.broker)

    def send(self, name, step=1.0, count=None, *, start=0.0, uid=None, ending=Ending.ABORTED, **header) -> str:
        """Record a stack of slices, 200 mm of them unless said otherwise; return the job's id."""
        arrivals, sender = [], association()
        uid = uid or f"1.2.{len(name)}.{sum(map(ord, name))}"
        for n in range(count or round(200 / step)):
            place = start + step * n
            values = {
                "modality": "CT", "series_description": name, "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
                "rows": 4, "columns": 4, "frame_of_reference": "1.9", "rescale": True, "position": (0.0, 0.0, place),
                "orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), "spacing": (1.0, 1.0), "thickness": step,
                "kernel": "B30f",
            }  # fmt: skip
            sop = f"{uid}.{round(place * 1000)}"
            found = Header("1.1", uid, sop, CTImageStorage, **(values | header))
            arrivals.append(Arrival(found, ExplicitVRLittleEndian, "x", sop, 1, sender))
        self.ledger.instances.record_all(arrivals)
        self.ledger.associations.end(sender.id, ending)  # aborted: then the quiet time counts
        return next(job.id for job in self.ledger.queries.of_study("1.1") if job.series_uid == uid)

    def tick(self, seconds: float = 0.0) -> None:
        self.clock.pass_seconds(seconds)
        self.supervisor.tick()

    def job(self, job_id: str):
        return self.ledger.queries.job(job_id)

    def states(self, *job_ids: str) -> list[str]:
        return [self.job(job_id).state.value for job_id in job_ids]

    def run(self, job_id: str) -> None:
        assert self.ledger.queue.claim(job_id, "worker", 1000)

    def finish_job(self, job_id: str, finding: str = "") -> None:
        made = [Result("seg", "seg.dcm", "0", 1, "1.66.4", "2.25.1")]
        assert finish_job(self.ledger, job_id, "worker", made, {"finding": finding})


@pytest.fixture
def study(tmp_path):
    made = []

    def make(**settings):
        made.append(Study(tmp_path, **settings))
        return made[-1]

    yield make
    for each in made:
        each.ledger.close()


def test_a_lone_series_is_queued_in_the_tick_that_finds_it_complete(study):
    site = study()
    job_id = site.send("hip")
    site.tick(QUIET + 1)
    assert site.states(job_id) == ["queued"]
    assert site.broker.jobs == [job_id]


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        ({"step": 3.0}, "1.0 mm slices instead of 3.0 mm slices"),
        ({"kernel": "B70f"}, "a soft or standard kernel (B30f) instead of a sharp kernel (B70f)"),
        ({"image_type": ("DERIVED", "SECONDARY", "MPR")}, "original axial images instead of reformations or derived"),
        ({"contrast": True}, "no contrast medium instead of contrast medium"),
        ({"count": 120}, "199 mm of length instead of 119 mm of length"),
    ],
    ids=["thick", "sharp", "reformatted", "contrast", "short"],
)
@pytest.mark.parametrize("best_first", [True, False])
def test_only_the_best_of_a_study_is_queued_and_the_other_is_told_why(study, worse, why, best_first):
    site = study()
    sent = {}
    for name in ("best", "worse") if best_first else ("worse", "best"):
        sent[name] = site.send(name, **(worse if name == "worse" else {}))
    site.tick(QUIET + 1)
    site.tick()
    assert site.states(sent["best"], sent["worse"]) == ["queued", "declined"]
    loser = site.job(sent["worse"])
    assert loser.code == Reason.NOT_BEST
    assert loser.reason.startswith(f'series "best" of the study is better: {why}')
    assert site.broker.jobs == [sent["best"]]


def test_of_equal_series_the_first_is_taken(study):
    site = study()
    first = site.send("one")
    site.clock.pass_seconds(1)
    second = site.send("another")
    site.tick(QUIET + 1)
    site.tick()
    assert site.states(first, second) == ["queued", "declined"]
    assert "it came first" in site.job(second).reason


def test_series_per_study_all_switches_the_choice_off(study):
    site = study(intake={"series_per_study": "all"})
    sent = [site.send("thin"), site.send("thick", 3.0)]
    site.tick(QUIET + 1)
    assert site.states(*sent) == ["queued", "queued"]


def test_a_complete_series_waits_for_another_that_still_arrives_and_says_so(study):
    site = study()
    thick = site.send("thick", 3.0)
    site.clock.pass_seconds(QUIET)
    thin = site.send("thin", count=100)
    site.tick(1)
    assert site.states(thick, thin) == ["complete", "received"]
    assert site.job(thick).reason == 'waiting: series "thin" still arrives, and the best of the study is chosen'
    events = len(site.ledger.queries.events(thick))
    site.tick(1)
    assert len(site.ledger.queries.events(thick)) == events
    site.tick(QUIET)
    site.tick()
    assert site.states(thick, thin) == ["declined", "queued"]


def test_a_series_whose_sender_has_gone_is_not_waited_for(study):
    site = study()
    scout = site.send("scout", 5.0, ending=Ending.RELEASED, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    monitoring = site.send("monitoring", 5.0, count=3, ending=Ending.RELEASED)
    hip = site.send("hip", ending=Ending.RELEASED)
    site.tick(1.1)
    assert site.states(scout, monitoring, hip) == ["declined", "received", "queued"]


def test_the_wait_ends_when_nothing_arrives_any_more(study):
    site = study()
    thin = site.send("thin")
    site.clock.pass_seconds(QUIET)
    localiser = site.send("topogram", 5.0, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    site.tick(1)
    assert site.states(thin) == ["complete"]
    site.tick(QUIET)
    assert site.states(thin, localiser) == ["queued", "declined"]
    assert site.job(thin).reason == ""


@pytest.mark.parametrize("other", [{"modality": "SR"}, {"modality": "MR"}])
def test_what_is_no_ct_is_not_waited_for(study, other):
    site = study()
    hip = site.send("hip")
    site.clock.pass_seconds(QUIET)
    site.send("something else", count=3, **other)
    site.tick(1)
    assert site.states(hip) == ["queued"]


def test_a_series_that_arrives_for_ever_is_not_waited_for(study):
    site = study()
    endless = site.send("endless")
    for n in range(1, GIVE_UP // 5 + 1):
        site.clock.pass_seconds(5)
        site.send("endless", count=1, start=-1.0 * n)
    hip = site.send("hip")
    choosing = SelectionStage(site.ledger, site.settings)
    assert site.job(endless).state is JobState.RECEIVED
    site.ledger.decisions.apply(hip, Decision(JobState.COMPLETE))
    assert choosing.judge(site.job(hip)).state is JobState.QUEUED


def test_a_better_late_comer_replaces_what_only_waits_in_the_queue(study):
    site = study()
    thick = site.send("thick", 3.0)
    site.tick(QUIET + 1)
    assert site.states(thick) == ["queued"]
    thin = site.send("thin")
    site.tick(QUIET + 1)
    assert site.states(thick, thin) == ["declined", "queued"]
    assert site.job(thick).reason == 'series "thin" of the study is better: 1.0 mm slices instead of 3.0 mm slices'
    assert site.ledger.queue.claim(thick, "worker", 30) is None


@pytest.mark.parametrize("stage", ["running", "delivered"])
def test_a_better_late_comer_is_segmented_beside_what_has_started(study, stage):
    site = study()
    thick = site.send("thick", 3.0)
    site.tick(QUIET + 1)
    site.run(thick)
    if stage == "delivered":
        site.finish_job(thick)
    thin = site.send("thin")
    site.tick(QUIET + 1)
    assert site.states(thick, thin) == [stage, "queued"]
    sentence = (
        'it came later and is better than series "thick", which is segmented, too: '
        "1.0 mm slices instead of 3.0 mm slices"
    )
    assert site.job(thin).reason == sentence
    assert site.ledger.queries.events(thin)[-1].text == sentence


@pytest.mark.parametrize("stage", ["queued", "running", "delivered"])
def test_a_worse_late_comer_is_declined(study, stage):
    site = study()
    thin = site.send("thin")
    site.tick(QUIET + 1)
    if stage != "queued":
        site.run(thin)
    if stage == "delivered":
        site.finish_job(thin)
    thick = site.send("thick", 3.0)
    site.tick(QUIET + 1)
    assert site.states(thin, thick) == [stage, "declined"]
    assert site.job(thick).code == Reason.NOT_BEST


@pytest.mark.parametrize("fate", ["held", "cancelled", "declined", "failed"])
def test_what_cannot_go_on_is_no_rival(study, fate):
    site = study()
    thin = site.send("thin")
    site.tick(QUIET + 1)
    if fate == "held":
        site.ledger.operator.hold(thin, "tester")
    elif fate == "cancelled":
        site.ledger.operator.cancel(thin, "tester")
    else:
        site.run(thin)
        site.ledger.queue.stop(thin, "worker", Decision(JobState(fate), "too-short", "the scan is too short"))
    thick = site.send("thick", 3.0)
    site.tick(QUIET + 1)
    assert site.states(thin, thick) == [fate, "queued"]


def test_a_person_overrides_the_choice(study):
    site = study()
    thin, thick = site.send("thin"), site.send("thick", 3.0)
    site.tick(QUIET + 1)
    site.tick()
    assert site.states(thin, thick) == ["queued", "declined"]
    site.ledger.operator.retry(thick, "tester")
    site.tick(QUIET + 1)
    assert site.states(thin, thick) == ["queued", "queued"]
    assert site.job(thick).forced
    best = site.send("best", 1.0, 300)
    site.tick(QUIET + 1)
    assert site.states(thin, thick, best) == ["declined", "queued", "queued"]


def test_a_late_revision_is_not_a_rival_of_its_own_series(study):
    site = study()
    first = site.send("hip", uid="1.2.9")
    site.tick(QUIET + 1)
    site.run(first)
    site.finish_job(first)
    second = site.send("hip", count=1, start=200.0, uid="1.2.9")
    assert second != first
    site.tick(QUIET + 1)
    assert site.states(first, second) == ["delivered", "queued"]
    assert site.job(second).reason == ""


def test_rivals_are_only_series_of_the_same_route(study):
    routes = [
        {"name": "thin", "max_slice_thickness_mm": 1.5},
        {"name": "thick", "series_description": ["trial*"]},
        {"name": "no more", "action": "decline"},
    ]
    site = study(routes=routes)
    sent = [site.send(name, step) for name, step in (("a", 1.0), ("trial 3", 3.0), ("trial 5", 5.0), ("b", 4.0))]
    site.tick(QUIET + 1)
    site.tick()
    assert site.states(*sent) == ["queued", "queued", "declined", "declined"]
    assert [site.job(job_id).route for job_id in sent] == ["thin", "thick", "thick", "no more"]
    assert [site.job(job_id).code for job_id in sent] == ["", "", Reason.NOT_BEST, Reason.ROUTE_DECLINES]


def test_series_of_other_studies_are_no_rivals(study):
    site = study()
    thin = site.send("thin")
    site.ledger.instances.record(
        Arrival(Header("1.7", "1.7.1", "1.7.1.1", CTImageStorage, modality="CT"), "1.2", "x", "0", 1, association())
    )
    site.tick(QUIET + 1)
    assert site.states(thin) == ["queued"]


def test_two_supervisors_choose_once(study):
    site = study()
    second = Supervisor(site.ledger, site.settings, site.broker)
    thin, thick = site.send("thin"), site.send("thick", 3.0)
    site.tick(QUIET + 1)
    second.tick()
    site.tick()
    assert site.states(thin, thick) == ["queued", "declined"]
    assert site.broker.jobs == [thin]
    for job_id in (thin, thick):
        assert [event.state for event in site.ledger.queries.events(job_id)].count(site.job(job_id).state) == 1


def test_the_loser_stays_while_the_winner_is_not_queued(study):
    """When the best gets more slices in the very moment of the choice, the study must not be left without any."""
    site = study()
    thin, thick = site.send("thin"), site.send("thick", 3.0)
    for job_id in (thin, thick):
        site.ledger.decisions.apply(job_id, Decision(JobState.COMPLETE))
    choosing = SelectionStage(site.ledger, site.settings)
    stale = site.job(thin)
    decision = choosing.judge(stale)
    site.send("thin", count=1, start=300.0)
    assert not site.ledger.decisions.apply(thin, decision, stale)
    loser = site.job(thick)
    assert choosing.judge(loser).state is JobState.COMPLETE
    assert site.states(thick) == ["complete"]


NOTHING = "there is no proximal femur in the scan"


def test_when_the_best_shows_no_femur_the_next_best_takes_its_turn(study):
    site = study()
    chest, hip, thick = site.send("chest"), site.send("hip", 2.0), site.send("thick", 5.0)
    site.tick(QUIET + 1)
    site.tick()
    assert site.states(chest, hip, thick) == ["queued", "declined", "declined"]
    site.run(chest)
    site.finish_job(chest, NOTHING)
    assert site.states(chest, hip, thick) == ["delivered", "complete", "complete"]
    assert site.job(hip).reason == 'series "chest" of the study was taken before this one and gave no segmentation'
    site.tick()
    site.tick()
    assert site.states(chest, hip, thick) == ["delivered", "queued", "declined"]
    assert site.job(thick).reason.startswith('series "hip" of the study is better')
    site.run(hip)
    site.finish_job(hip, NOTHING)
    site.tick()
    assert site.states(thick) == ["queued"]
    site.run(thick)
    site.finish_job(thick)
    site.tick()
    assert site.states(chest, hip, thick) == ["delivered"] * 3


def test_when_the_segmenter_declines_the_best_the_next_best_takes_its_turn(study):
    site = study()
    best, next_best = site.send("best"), site.send("next", 2.0)
    site.tick(QUIET + 1)
    site.tick()
    site.run(best)
    assert site.ledger.queue.stop(best, "worker", Decision(JobState.DECLINED, "several-stacks", "two stacks"))
    site.tick()
    assert site.states(best, next_best) == ["declined", "queued"]


def test_a_worse_late_comer_is_segmented_when_the_best_shows_no_femur(study):
    site = study()
    best = site.send("best")
    site.tick(QUIET + 1)
    site.run(best)
    site.finish_job(best, NOTHING)
    worse = site.send("worse", 5.0)
    site.tick(QUIET + 1)
    assert site.states(worse) == ["queued"]


def test_what_was_declined_for_another_reason_or_superseded_or_removed_does_not_come_back(study):
    site = study()
    best, chest = site.send("best"), site.send("lung", 2.0, body_part="CHEST")
    superseded, removed = site.send("superseded", 2.0), site.send("removed", 3.0)
    site.tick(QUIET + 1)
    site.tick()
    assert site.states(best, chest, superseded, removed) == ["queued", "declined", "declined", "declined"]
    newest = site.send("superseded", 2.0, count=101)
    with site.ledger.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == removed).values(removed_at=site.clock()))
    site.run(best)
    site.finish_job(best, NOTHING)
    assert site.states(best, chest, superseded, removed) == ["delivered", "declined", "declined", "declined"]
    site.tick(QUIET + 1)
    assert site.states(newest) == ["queued"]
