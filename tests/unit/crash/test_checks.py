"""The checks of the crash suite find every injected fault, and report nothing without one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from e2e.crash.checks import violations
from e2e.crash.end_state import EndState, JobRow, ObjectRow
from e2e.crash.pacs import Stored
from e2e.crash.report import Outcome, Times
from e2e.crash.restarted_node import Running, Target, processes_of
from e2e.crash.senders import Answer, EndedAssociation, SendLog
from e2e.crash.studies import Sent, Study, result_uid
from e2e.crash.study_plan import Expected, Item, Scenario, StudyPlan, StudyPlanner, Timing, Version, make_plans

TIMING = Timing(quiet=2.0, give_up=10.0)
CODES = {Expected.GAP: "held"}


def study_of(scenario: Scenario) -> Study:
    plan = StudyPlanner(0, scenario, "1 0", TIMING).plan()
    objects = {
        item: Sent(
            Path("none"),
            f"1.{item.series}.{item.index}" + (".9" if item.version is Version.BROKEN else ""),
            f"5.{item.series}",
            "1.2",
            "1.2",
            f"sha {item.series} {item.index} {item.version}",
        )
        for item in plan.items
    }
    return Study(plan, "4.1", tuple(f"5.{n}" for n in range(len(plan.series))), objects)


def good_send_log(study: Study) -> SendLog:
    """Every object over one association, one each 0.1 s, with the expected answer."""
    send_log = SendLog()
    for number, item in enumerate(sorted(study.plan.items)):
        status = 0xC000 if item.version is Version.BROKEN else 0
        send_log.answers.append(Answer(number * 0.1, item, 0, status))
    send_log.associations.append(EndedAssociation(0, clean=True))
    return send_log


def good_end_state(scenario: Scenario = Scenario.GOOD) -> EndState:
    """The end state of a run of one study without a fault."""
    study = study_of(scenario)
    rows, jobs, stored = [], [], []
    late = {
        item
        for step in study.plan.steps
        if step.after_result
        for planned in step.associations
        for item in planned.items
    }
    for item, sent in sorted(study.objects.items()):
        if item.version is not Version.BROKEN:
            revision = 2 if scenario is Scenario.LATE and item in late else 1
            variant = int(item.version is Version.VARIANT)
            rows.append(ObjectRow(sent.series_uid, revision, sent.sop_uid, variant, sent.sha256, sent.sha256))
    for number, series in enumerate(study.plan.series):
        for revision in range(1, study.plan.results + 1):
            used = [
                (row.sop_uid, row.sha256)
                for row in rows
                if row.series_uid == f"5.{number}" and row.variant == 0 and row.revision <= revision
            ]
            job = JobRow(f"job{number}{revision}", f"5.{number}", revision, "delivered", instances=len(used))
            if series.expected is Expected.DELIVERED:
                uid = result_uid(used)
                job = replace(job, results=(uid,))
                stored.append(Stored(uid, study.uid, "bytes of it", frozenset(sop for sop, _ in used)))
            else:
                job = replace(job, state=CODES.get(series.expected, "declined"), code=series.expected)
            jobs.append(job)
    return EndState([study], {0: good_send_log(study)}, rows, jobs, {"broken-object": 2}, stored)


@pytest.mark.parametrize("scenario", Scenario)
def test_a_run_without_faults_has_no_violations(scenario):
    assert violations(good_end_state(scenario)) == []


def changed(sequence, place, **values):
    sequence = list(sequence)
    sequence[place] = replace(sequence[place], **values)
    return sequence


def without_answer(end_state: EndState, place: int) -> dict[int, SendLog]:
    send_log = end_state.send_logs[0]
    return {0: SendLog([a for a in send_log.answers if a is not send_log.answers[place]], send_log.associations)}


FAULTS = {
    "an acknowledged object without its row": (
        lambda f: {"rows": f.rows[1:]},
        "object 0 of series 0 was acknowledged but is not in the ledger",
    ),
    "a file that is gone": (lambda f: {"rows": changed(f.rows, 3, on_disk="")}, "object 3 of series 0 is not on disk"),
    "a damaged file": (lambda f: {"rows": changed(f.rows, 3, on_disk="x")}, "object 3 of series 0 is damaged on disk"),
    "another object in its place": (lambda f: {"rows": changed(f.rows, 3, sha256="x")}, "an object nobody sent"),
    "an object twice": (lambda f: {"rows": [*f.rows, f.rows[0]]}, "the same object twice"),
    "a first version that is not used": (lambda f: {"rows": changed(f.rows, 3, variant=1)}, "not the one in use"),
    "an unknown series": (
        lambda f: {"rows": [*f.rows, replace(f.rows[0], series_uid="9.9")]},
        "the ledger has a series nobody sent: 9.9",
    ),
    "an object without an answer": (
        lambda f: {"send_logs": without_answer(f, 4)},
        "object 4 of series 0 was never ackn",
    ),
    "a series without a job": (lambda f: {"jobs": []}, "series 0 has no job"),
    "a job with a wrong count": (lambda f: {"jobs": changed(f.jobs, 0, instances=3)}, "its job counts 3 objects"),
    "a job that runs for ever": (lambda f: {"jobs": changed(f.jobs, 0, state="running")}, "stays running"),
    "a job that waits for ever": (lambda f: {"jobs": changed(f.jobs, 0, state="received")}, "stays received"),
    "a failed job": (lambda f: {"jobs": changed(f.jobs, 0, state="failed", reason="bad luck")}, "failed: bad luck"),
    "a whole study that is held": (lambda f: {"jobs": changed(f.jobs, 0, state="held", code="gap")}, "it is held (gap"),
    "an open delivery": (lambda f: {"jobs": changed(f.jobs, 0, open_deliveries=1)}, "1 deliveries that stay open"),
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
    "a result of an unknown study": (
        lambda f: {"stored": [*f.stored, replace(f.stored[0], study_uid="9.9")]},
        "a study nobody sent",
    ),
    "one result too many": (
        lambda f: {"jobs": [f.jobs[0], replace(f.jobs[0], id="again", revision=2)]},
        "it has 2 delivered results, not 1",
    ),
    "a revision that was declined before": (
        lambda f: {"jobs": [replace(f.jobs[0], state="declined", code="too-short", results=()), f.jobs[0]]},
        "revision 1 is declined",
    ),
    "a result of two objects": (lambda f: {"jobs": changed(f.jobs, 0, results=("7.7", "7.8"))}, "2 result objects"),
    "a file left behind": (lambda f: {"leftovers": ("inbox/tmp/x",)}, "left behind: inbox/tmp/x"),
    "a node that does not answer": (lambda f: {"complaints": ("C-ECHO: nothing",)}, "does not answer: C-ECHO: nothing"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_found(name):
    change, sentence = FAULTS[name]
    end_state = good_end_state()
    assert any(sentence in found for found in violations(replace(end_state, **change(end_state)))), name


def test_the_same_result_twice_is_no_fault():
    end_state = good_end_state()
    assert violations(replace(end_state, stored=[*end_state.stored, *end_state.stored])) == []


def test_an_early_result_is_allowed_only_when_the_sending_was_interrupted():
    end_state = good_end_state()
    slices = [(row.sop_uid, row.sha256) for row in end_state.rows]
    rows = [replace(row, revision=1 + (place > 9)) for place, row in enumerate(end_state.rows)]
    early = replace(end_state.jobs[0], id="early", instances=10, results=(result_uid(slices[:10]),))
    stored = Stored(early.results[0], "4.1", "other bytes", frozenset(sop for sop, _ in slices[:10]))
    end_state = replace(
        end_state, rows=rows, jobs=[early, replace(end_state.jobs[0], revision=2)], stored=[*end_state.stored, stored]
    )
    assert violations(end_state) == ["study 0 (one association): series 0: it has 2 delivered results, not 1"]
    lost = SendLog(end_state.send_logs[0].answers, [EndedAssociation(0, clean=False)])
    assert violations(replace(end_state, send_logs={0: lost})) == []


def test_a_refusal_must_be_in_the_ledger_and_its_object_must_not():
    end_state = good_end_state(Scenario.BROKEN)
    assert "2 objects were refused as broken, but the ledger records 1" in violations(
        replace(end_state, refusals={"broken-object": 1})
    )
    broken = end_state.studies[0].objects[Item(0, 0, Version.BROKEN)]
    kept = ObjectRow("5.0", 1, broken.sop_uid, 0, broken.sha256, broken.sha256)
    answered = [replace(a, status=0) if a.item.version is Version.BROKEN else a for a in end_state.send_logs[0].answers]
    taken = replace(
        end_state, rows=[*end_state.rows, kept], send_logs={0: SendLog(answered, end_state.send_logs[0].associations)}
    )
    assert any("broken object 0 of series 0 was not refused" in sentence for sentence in violations(taken))


@pytest.mark.parametrize(
    ("scenario", "state", "code"),
    [(Scenario.GAP, "delivered", ""), (Scenario.FOREIGN, "held", "gap"), (Scenario.SHORT, "declined", "not-ct")],
)
def test_what_cannot_be_segmented_must_be_in_its_named_state(scenario, state, code):
    end_state = good_end_state(scenario)
    found = violations(replace(end_state, jobs=changed(end_state.jobs, -1, state=state, code=code)))
    assert any(f"it is {state} ({code or 'no code'}" in sentence for sentence in found)


def test_a_late_slice_needs_a_second_result_beside_the_first():
    end_state = good_end_state(Scenario.LATE)
    assert len({stored.sop_uid for stored in end_state.stored}) == 2
    first_gone = replace(
        end_state, jobs=[replace(end_state.jobs[0], state="cancelled", code="superseded"), end_state.jobs[1]]
    )
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
    send_log = SendLog([Answer(at, Item(0, 0), 0, 0) for at in times], [EndedAssociation(0, clean)])
    assert send_log.interrupted(2.0) is interrupted


def test_a_pause_counts_for_its_series_alone():
    answers = [Answer(at, Item(series, at), 0, 0) for series, at in ((0, 0), (1, 0), (0, 1), (0, 2), (0, 3), (1, 3))]
    send_log = SendLog(answers, [EndedAssociation(0, True)])
    assert [send_log.interrupted(2.0, series) for series in (0, 1)] == [False, True]


def test_the_same_seed_draws_the_same_studies_and_every_scenario():
    plans = make_plans(2 * len(Scenario), 1, TIMING)
    assert plans == make_plans(2 * len(Scenario), 1, TIMING)
    assert plans != make_plans(2 * len(Scenario), 2, TIMING)
    assert [plan.scenario for plan in plans].count(Scenario.LATE) == 2
    assert all(whole(plan) for plan in plans if plan.scenario is not Scenario.GAP)
    assert not any(whole(plan) for plan in plans if plan.scenario is Scenario.GAP)


def whole(plan: StudyPlan) -> bool:
    wanted = {Item(number, index) for number, series in enumerate(plan.series) for index in range(series.length)}
    return wanted <= plan.items


PROCESSES = {
    1: Running(0, ("python", "stub_up.py")),
    2: Running(1, ("python", "-m", "node", "serve")),
    3: Running(1, ("python", "stub_up.py", "settings", "segment")),
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
def test_processes_of_a_target(target, pids):
    assert processes_of(target, 1, PROCESSES) == pids


def test_a_receiver_without_children_is_the_part_itself():
    assert processes_of(Target.RECEIVER, 1, {pid: p for pid, p in PROCESSES.items() if pid != 7}) == [2]


def test_the_report_counts_and_names_what_is_wrong():
    end_state = good_end_state()
    end_state = replace(
        end_state, jobs=[replace(end_state.jobs[0], id="early"), end_state.jobs[0]], stored=end_state.stored * 2
    )
    outcome = Outcome("a run", end_state, Counter({Target.WEB: 3}), 2, Times(10.0, 12.0), ["it is lost"])
    figures = outcome.figures()
    assert figures["objects acknowledged"] == figures["objects in the ledger"] == len(end_state.rows)
    assert (figures["results at the PACS"], figures["results received twice, with the same bytes"]) == (1, 1)
    assert (figures["of them early, from a part of the slices"], figures["kills"], figures["violations"]) == (1, 3, 1)
    text = outcome.markdown()
    assert "| web | 3 |" in text
    assert "- it is lost" in text
