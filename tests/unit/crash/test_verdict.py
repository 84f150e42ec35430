"""The verdict of the crash suite finds every made-up fault, and nothing where there is none."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from e2e.crash.facts import Facts, JobRow, Row
from e2e.crash.node_under_fire import Running, Target, victims
from e2e.crash.pacs import Stored
from e2e.crash.plan import Fate, Form, Item, Manner, Plan, Planner, Timing, make_plans
from e2e.crash.report import Outcome, Times
from e2e.crash.senders import Answer, Link, Trace
from e2e.crash.studies import Sent, Study, result_uid
from e2e.crash.verdict import violations

TIMING = Timing(quiet=2.0, give_up=10.0)
CODES = {Fate.GAP: "held"}


def study_of(manner: Manner) -> Study:
    plan = Planner(0, manner, "1 0", TIMING).plan()
    objects = {
        item: Sent(
            Path("none"),
            f"1.{item.series}.{item.index}" + (".9" if item.form is Form.BROKEN else ""),
            f"5.{item.series}",
            "1.2",
            "1.2",
            f"sha {item.series} {item.index} {item.form}",
        )
        for item in plan.items
    }
    return Study(plan, "4.1", tuple(f"5.{n}" for n in range(len(plan.series))), objects)


def good_trace(study: Study) -> Trace:
    """Everything over one association each 0.1 s, answered as it should be."""
    trace = Trace()
    for number, item in enumerate(sorted(study.plan.items)):
        status = 0xC000 if item.form is Form.BROKEN else 0
        trace.answers.append(Answer(number * 0.1, item, 0, status))
    trace.links.append(Link(0, clean=True))
    return trace


def good_facts(manner: Manner = Manner.GOOD) -> Facts:
    """What there is after a run of one study in which nothing went wrong."""
    study = study_of(manner)
    rows, jobs, stored = [], [], []
    late = {item for step in study.plan.steps if step.after_result for carry in step.carries for item in carry.items}
    for item, sent in sorted(study.objects.items()):
        if item.form is not Form.BROKEN:
            revision = 2 if manner is Manner.LATE and item in late else 1
            variant = int(item.form is Form.VARIANT)
            rows.append(Row(sent.series_uid, revision, sent.sop_uid, variant, sent.sha256, sent.sha256))
    for number, series in enumerate(study.plan.series):
        for revision in range(1, study.plan.results + 1):
            used = [
                (row.sop_uid, row.sha256)
                for row in rows
                if row.series_uid == f"5.{number}" and row.variant == 0 and row.revision <= revision
            ]
            job = JobRow(f"job{number}{revision}", f"5.{number}", revision, "delivered", instances=len(used))
            if series.fate is Fate.DELIVERED:
                uid = result_uid(used)
                job = replace(job, results=(uid,))
                stored.append(Stored(uid, study.uid, "bytes of it", frozenset(sop for sop, _ in used)))
            else:
                job = replace(job, state=CODES.get(series.fate, "declined"), code=series.fate)
            jobs.append(job)
    return Facts([study], {0: good_trace(study)}, rows, jobs, {"broken-object": 2}, stored)


@pytest.mark.parametrize("manner", Manner)
def test_a_run_without_faults_has_no_violations(manner):
    assert violations(good_facts(manner)) == []


def changed(sequence, place, **values):
    sequence = list(sequence)
    sequence[place] = replace(sequence[place], **values)
    return sequence


def without_answer(facts: Facts, place: int) -> dict[int, Trace]:
    trace = facts.traces[0]
    return {0: Trace([a for a in trace.answers if a is not trace.answers[place]], trace.links)}


FAULTS = {
    "an acknowledged object without its row": (
        lambda f: {"rows": f.rows[1:]},
        "object 0 of series 0 was acknowledged but is not in the ledger",
    ),
    "a file that is gone": (lambda f: {"rows": changed(f.rows, 3, on_disk="")}, "object 3 of series 0 is not on disk"),
    "a damaged file": (lambda f: {"rows": changed(f.rows, 3, on_disk="x")}, "object 3 of series 0 is damaged on disk"),
    "another object in its place": (lambda f: {"rows": changed(f.rows, 3, sha256="x")}, "an object nobody sent"),
    "an object twice": (lambda f: {"rows": [*f.rows, f.rows[0]]}, "the same object twice"),
    "a first version that is not used": (lambda f: {"rows": changed(f.rows, 3, variant=1)}, "not the one that is used"),
    "a strange series": (
        lambda f: {"rows": [*f.rows, replace(f.rows[0], series_uid="9.9")]},
        "the ledger has a series nobody sent: 9.9",
    ),
    "an object without an answer": (lambda f: {"traces": without_answer(f, 4)}, "object 4 of series 0 was never ackn"),
    "a series without a job": (lambda f: {"jobs": []}, "series 0 has no job"),
    "a job that counts wrong": (lambda f: {"jobs": changed(f.jobs, 0, instances=3)}, "its job counts 3 objects"),
    "a job that runs for ever": (lambda f: {"jobs": changed(f.jobs, 0, state="running")}, "is running for ever"),
    "a job that waits for ever": (lambda f: {"jobs": changed(f.jobs, 0, state="received")}, "is received for ever"),
    "a failed job": (lambda f: {"jobs": changed(f.jobs, 0, state="failed", reason="bad luck")}, "failed: bad luck"),
    "a whole study that is held": (lambda f: {"jobs": changed(f.jobs, 0, state="held", code="gap")}, "it is held (gap"),
    "an open delivery": (lambda f: {"jobs": changed(f.jobs, 0, open_deliveries=1)}, "1 deliveries open for ever"),
    "a result that is not at the PACS": (lambda f: {"stored": []}, "delivered but not at the PACS"),
    "a result of other slices": (
        lambda f: {"jobs": changed(f.jobs, 0, results=("7.7",)), "stored": changed(f.stored, 0, sop_uid="7.7")},
        "was not made from its",
    ),
    "a result that refers to other slices": (
        lambda f: {"stored": changed(f.stored, 0, references=frozenset({"1.0.0"}))},
        "does not refer to its",
    ),
    "two contents of one result": (
        lambda f: {"stored": [*f.stored, replace(f.stored[0], sha256="other")]},
        "2 different contents of one result",
    ),
    "a result no job has delivered": (
        lambda f: {"stored": [*f.stored, replace(f.stored[0], sop_uid="7.7")]},
        "a result that no job has delivered",
    ),
    "a result of nobody": (
        lambda f: {"stored": [*f.stored, replace(f.stored[0], study_uid="9.9")]},
        "a study nobody sent",
    ),
    "a result too many": (
        lambda f: {"jobs": [f.jobs[0], replace(f.jobs[0], id="again", revision=2)]},
        "it has 2 delivered results, not 1",
    ),
    "a revision that was declined before": (
        lambda f: {"jobs": [replace(f.jobs[0], state="declined", code="too-short", results=()), f.jobs[0]]},
        "revision 1 is declined",
    ),
    "a result of two objects": (lambda f: {"jobs": changed(f.jobs, 0, results=("7.7", "7.8"))}, "2 result objects"),
    "a file left behind": (lambda f: {"leftovers": ("inbox/tmp/x",)}, "left behind: inbox/tmp/x"),
    "silence": (lambda f: {"complaints": ("C-ECHO: nothing",)}, "does not answer: C-ECHO: nothing"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_found(name):
    change, sentence = FAULTS[name]
    facts = good_facts()
    assert any(sentence in found for found in violations(replace(facts, **change(facts)))), name


def test_the_same_result_twice_is_no_fault():
    facts = good_facts()
    assert violations(replace(facts, stored=[*facts.stored, *facts.stored])) == []


def test_an_early_result_is_only_forgiven_when_the_sending_was_interrupted():
    facts = good_facts()
    slices = [(row.sop_uid, row.sha256) for row in facts.rows]
    rows = [replace(row, revision=1 + (place > 9)) for place, row in enumerate(facts.rows)]
    early = replace(facts.jobs[0], id="early", instances=10, results=(result_uid(slices[:10]),))
    stored = Stored(early.results[0], "4.1", "other bytes", frozenset(sop for sop, _ in slices[:10]))
    facts = replace(facts, rows=rows, jobs=[early, replace(facts.jobs[0], revision=2)], stored=[*facts.stored, stored])
    assert violations(facts) == ["study 0 (one association): series 0: it has 2 delivered results, not 1"]
    lost = Trace(facts.traces[0].answers, [Link(0, clean=False)])
    assert violations(replace(facts, traces={0: lost})) == []


def test_a_refusal_must_be_in_the_ledger_and_nothing_else_of_it():
    facts = good_facts(Manner.BROKEN)
    assert "2 objects were refused as broken, but the ledger knows of 1" in violations(
        replace(facts, refusals={"broken-object": 1})
    )
    broken = facts.studies[0].objects[Item(0, 0, Form.BROKEN)]
    kept = Row("5.0", 1, broken.sop_uid, 0, broken.sha256, broken.sha256)
    answered = [replace(a, status=0) if a.item.form is Form.BROKEN else a for a in facts.traces[0].answers]
    taken = replace(facts, rows=[*facts.rows, kept], traces={0: Trace(answered, facts.traces[0].links)})
    assert any("broken object 0 of series 0 was not refused" in sentence for sentence in violations(taken))


@pytest.mark.parametrize(
    ("manner", "state", "code"),
    [(Manner.GAP, "delivered", ""), (Manner.FOREIGN, "held", "gap"), (Manner.SHORT, "declined", "not-ct")],
)
def test_what_cannot_be_segmented_must_be_in_its_named_state(manner, state, code):
    facts = good_facts(manner)
    found = violations(replace(facts, jobs=changed(facts.jobs, -1, state=state, code=code)))
    assert any(f"it is {state} ({code or 'no code'}" in sentence for sentence in found)


def test_a_late_slice_needs_a_second_result_beside_the_first():
    facts = good_facts(Manner.LATE)
    assert len({stored.sop_uid for stored in facts.stored}) == 2
    first_gone = replace(facts, jobs=[replace(facts.jobs[0], state="cancelled", code="superseded"), facts.jobs[1]])
    assert any("it has 1 delivered results, not 2" in sentence for sentence in violations(first_gone))


@pytest.mark.parametrize(
    ("times", "clean", "interrupted"),
    [
        ((0, 1, 2), True, False),
        ((2, 0, 1), True, False),
        ((0, 3), True, True),
        ((0, 1), False, True),
        ((), True, False),
    ],
)
def test_when_the_sending_counts_as_interrupted(times, clean, interrupted):
    trace = Trace([Answer(at, Item(0, 0), 0, 0) for at in times], [Link(0, clean)])
    assert trace.interrupted(2.0) is interrupted


def test_a_pause_counts_for_its_series_alone():
    answers = [Answer(at, Item(series, at), 0, 0) for series, at in ((0, 0), (1, 0), (0, 1), (0, 2), (0, 3), (1, 3))]
    trace = Trace(answers, [Link(0, True)])
    assert [trace.interrupted(2.0, series) for series in (0, 1)] == [False, True]


def test_the_same_seed_draws_the_same_studies_and_every_manner():
    plans = make_plans(2 * len(Manner), 1, TIMING)
    assert plans == make_plans(2 * len(Manner), 1, TIMING)
    assert plans != make_plans(2 * len(Manner), 2, TIMING)
    assert [plan.manner for plan in plans].count(Manner.LATE) == 2
    assert all(whole(plan) for plan in plans if plan.manner is not Manner.GAP)
    assert not any(whole(plan) for plan in plans if plan.manner is Manner.GAP)


def whole(plan: Plan) -> bool:
    wanted = {Item(number, index) for number, series in enumerate(plan.series) for index in range(series.length)}
    return wanted <= plan.items


PROCESSES = {
    1: Running(0, ("python", "small_up.py")),
    2: Running(1, ("python", "-m", "node", "serve")),
    3: Running(1, ("python", "small_up.py", "settings", "segment")),
    4: Running(1, ("python", "-m", "node", "worker", "--queue", "deliver")),
    5: Running(3, ("python", "spawn_main")),
    6: Running(3, ("python", "from multiprocessing.resource_tracker import main")),
    7: Running(2, ("python", "-m", "node", "serve")),
    8: Running(99, ("python", "-m", "node", "serve")),
}


@pytest.mark.parametrize(
    ("target", "pids"),
    [
        (Target.NODE, [1]),
        (Target.SERVE, [2]),
        (Target.SEGMENT, [3]),
        (Target.DELIVER, [4]),
        (Target.CHILD, [5]),
        (Target.RECEIVER, [7]),
        (Target.WEB, []),
    ],
)
def test_whom_a_target_means(target, pids):
    assert victims(target, 1, PROCESSES) == pids


def test_a_receiver_without_children_is_the_part_itself():
    assert victims(Target.RECEIVER, 1, {pid: p for pid, p in PROCESSES.items() if pid != 7}) == [2]


def test_the_report_counts_and_names_what_is_wrong():
    facts = good_facts()
    facts = replace(facts, jobs=[replace(facts.jobs[0], id="early"), facts.jobs[0]], stored=facts.stored * 2)
    outcome = Outcome("a run", facts, Counter({Target.WEB: 3}), 2, Times(10.0, 12.0), ["it is lost"])
    figures = outcome.figures()
    assert figures["objects acknowledged"] == figures["objects in the ledger"] == len(facts.rows)
    assert (figures["results at the PACS"], figures["results that came twice, with the same bytes"]) == (1, 1)
    assert (figures["of them early, of a part of the slices"], figures["kills"], figures["violations"]) == (1, 3, 1)
    text = outcome.markdown()
    assert "| web | 3 |" in text
    assert "- it is lost" in text
