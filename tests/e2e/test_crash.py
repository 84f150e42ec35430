"""A node whose parts are killed while every manner of study arrives loses nothing, doubles nothing, forgets nothing."""

import json
import logging

from e2e.crash.campaign import Campaign
from e2e.crash.node_under_fire import Target
from e2e.crash.plan import Manner, Timing, make_plans
from e2e.crash.studies import write_studies

SEED = 4
TIMING = Timing(quiet=1.0, give_up=8.0)


def test_nothing_is_lost_doubled_or_left_without_a_state(tmp_path):
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it reports each lost association
    studies = write_studies(make_plans(len(Manner), SEED, TIMING), tmp_path / "sent", SEED)
    campaign = Campaign("short", tmp_path / "node", SEED, TIMING, kill_seconds=1.0, threads=4, standstill_seconds=40.0)
    outcome = campaign.run(studies)
    assert outcome.violations == [], json.dumps(outcome.to_dict(), indent=1)
    assert set(outcome.kills) == set(Target)
    assert outcome.figures()["studies"] == len(Manner)
