"""A node whose parts are killed while studies of every scenario arrive loses nothing and doubles nothing."""

import json
import logging

from e2e.crash.crash_run import CrashRun
from e2e.crash.restarted_node import Target
from e2e.crash.studies import write_studies
from e2e.crash.study_plan import Scenario, Timing, make_plans

SEED = 4
TIMING = Timing(quiet=1.0, give_up=8.0)


def test_nothing_is_lost_doubled_or_left_without_a_state(tmp_path):
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it reports each lost association
    studies = write_studies(make_plans(len(Scenario), SEED, TIMING), tmp_path / "sent", SEED)
    crash_run = CrashRun("short", tmp_path / "node", SEED, TIMING, kill_seconds=1.0, threads=4, standstill_seconds=40.0)
    outcome = crash_run.run(studies)
    assert outcome.violations == [], json.dumps(outcome.to_dict(), indent=1)
    assert set(outcome.kills) == set(Target)
    assert outcome.figures()["studies"] == len(Scenario)
