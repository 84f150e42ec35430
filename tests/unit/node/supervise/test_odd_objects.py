"""One odd object in a series, before or behind the scan: the scan is complete, described and routed all the same."""

from dataclasses import replace

import pytest
from header_factory import CORONAL, image, localiser, stack
from ledger_steps import Clock
from pydicom.uid import ExplicitVRLittleEndian
from senders import association

from node.decide.candidate import Candidate
from node.decide.routing import route
from node.ledger import Ledger
from node.records.instances import Arrival, Ending
from node.records.states import JobState
from node.settings.settings import load_settings
from node.supervise.completeness_stage import CompletenessStage

NO_PLACE = {"orientation": None, "spacing": None}
ELSEWHERE = {"series_description": "Topogram", "body_part": "HEAD", "kernel": "SHARP"}
ODD = {
    "dose report": image(None, modality="SR", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.67", **NO_PLACE, **ELSEWHERE),
    "presentation state": image(None, modality="PR", sop_class_uid="1.2.840.10008.5.1.4.1.1.11.1", **NO_PLACE),
    "key objects": image(None, modality="KO", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.59", **NO_PLACE, **ELSEWHERE),
    "dose page": image(None, rows=600, frame_of_reference="", **NO_PLACE, **ELSEWHERE),
    "scout": localiser(**ELSEWHERE),
    "unmarked scout": image((0.0, 0.0, 300.0), orientation=CORONAL, **ELSEWHERE),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("links", [1, 2])
def test_an_odd_object_changes_nothing(tmp_path, odd, first, links):
    settings = load_settings(
        None,
        node={"data": tmp_path},
        routes=[{"name": "hips", "series_description": ["*hip*"], "body_part": ["HIP"], "destinations": []}],
    )
    clock = Clock()
    ledger = Ledger.of(settings, clock)
    stage = CompletenessStage(ledger, settings)
    slices = stack(series_description="QCT hip", body_part="HIP", kernel="STANDARD")
    parts = [[odd], slices] if first else [slices, [odd]]
    number = 0
    for part in parts if links == 2 else [[*parts[0], *parts[1]]]:
        link = replace(association(), started_at=clock())
        for header in part:
            number += 1
            sent = replace(header, sop_uid=f"1.2.3.{number}")
            ledger.instances.record(Arrival(sent, ExplicitVRLittleEndian, f"inbox/{number}", f"{number}", 1, link))
        ledger.associations.end(link.id, Ending.RELEASED)
    clock.push(1.5)
    for job in stage.due():
        ledger.decisions.apply(job.id, stage.judge(job), job)
    [job] = ledger.queries.jobs()
    assert (job.state, job.modality, job.description, job.body_part) == (JobState.COMPLETE, "CT", "QCT hip", "HIP")
    decision = route(Candidate.of(job, ledger.instances.headers_of(job.id)), settings)
    assert (decision.state, decision.route) == (JobState.QUEUED, "hips")
    ledger.close()
