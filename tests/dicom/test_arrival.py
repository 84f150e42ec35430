"""From the last object of a sender to the queue: a receiving node and its supervisor, with senders.

The quiet time is one hour here, so that a job starts only because the evidence shows a complete series.
"""

import threading
from io import BytesIO

import pytest
from orthanc import running_orthanc
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.dsutils import split_dataset

from node.records.processes import ProcessKind
from node.records.states import JobState
from node.run.process_heartbeat import ProcessHeartbeat
from node.scu.requestor import open_association
from node.scu.storage import send_files
from node.supervise.supervisor import Supervisor

INTAKE = {"quiet_seconds": 3600, "give_up_seconds": 7200, "accept_unknown_peers": True}


class NoDispatcher:
    """A broker without workers."""

    def segment(self, job_id):
        """Do nothing."""

    def deliver(self, delivery_id):
        """Do nothing."""


@pytest.fixture
def supervised(start_node):
    """Return a function that starts a receiving node together with its supervisor."""
    stop, threads = threading.Event(), []

    def start(**sections):
        sections["intake"] = INTAKE | sections.get("intake", {})
        node = start_node(**sections)
        threads.append(threading.Thread(target=_supervise, args=(node, stop)))
        threads[-1].start()
        return node

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def _supervise(node, stop):
    with ProcessHeartbeat(node.ledger, ProcessKind.SCP, 1):
        Supervisor(node.ledger, node.settings, NoDispatcher()).run(stop, 0.1)


@pytest.fixture
def orthanc(tmp_path, free_port, tool, poll):
    with running_orthanc(tool("Orthanc"), tmp_path / "orthanc", (free_port(), free_port()), poll) as server:
        yield server


def is_queued(node):
    jobs = node.ledger.queries.jobs()
    return len(jobs) == 1 and jobs[0].state is JobState.QUEUED


def waits_for(node, reason):
    return [job.reason for job in node.ledger.queries.jobs(JobState.RECEIVED)] == [f"waiting: {reason}"]


def test_storescu_releases_and_the_series_is_queued(supervised, ct_series, dcmtk, poll):
    node = supervised()
    sent = dcmtk("storescu", "-aec", "QCTNODE", "127.0.0.1", node.peer.port, *ct_series(slices=40))
    assert sent.returncode == 0, sent.stderr
    poll(lambda: is_queued(node), what="the queue")
    job = node.only_job()
    assert (job.instances, job.revision, job.reason) == (40, 1, "")


def test_one_association_per_image_gives_one_complete_job(supervised, ct_series, poll):
    node = supervised()
    for path in ct_series(slices=40):
        assert node.send(path)[0].ok
    poll(lambda: is_queued(node), what="the queue")
    assert (node.only_job().instances, node.only_job().revision) == (40, 1)


def test_a_series_over_simultaneous_associations_gives_one_complete_job(supervised, ct_series, poll):
    node, files = supervised(), ct_series(slices=60)
    senders = [threading.Thread(target=node.send, args=files[n::3]) for n in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    poll(lambda: is_queued(node), what="the queue")
    assert (node.only_job().instances, node.only_job().revision) == (60, 1)


def test_the_node_waits_for_an_idle_and_for_an_aborted_association(supervised, ct_series, poll):
    node = supervised()
    offer = (str(CTImageStorage), str(ExplicitVRLittleEndian))
    with open_association(node.peer, "SCANNER", [offer], 30) as association:
        for path in ct_series(slices=40):
            _, start = split_dataset(path)
            content = path.read_bytes()[start:]
            sop_uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            assert association.store(offer, sop_uid, BytesIO(content), len(content)) == 0
        poll(lambda: waits_for(node, "the association is still open"), what="the reason")
        association.abort()
    reason = "an association broke off, so no slice must come for 3600 s"
    poll(lambda: waits_for(node, reason), what="the reason")
    node.ledger.operator.release(node.only_job().id, "tester")
    poll(lambda: is_queued(node), what="the queue")


def test_a_missing_slice_is_named_and_completes_the_series_when_it_arrives(supervised, ct_series, poll):
    node, files = supervised(), ct_series(slices=40)
    lost = files.pop(17)
    node.send(*files)
    poll(lambda: "is missing between z=" in node.only_job().reason, what="the reason")
    assert node.send(lost)[0].ok
    poll(lambda: is_queued(node), what="the queue")


def test_the_node_waits_for_the_number_of_images_at_the_pacs(supervised, ct_series, orthanc, poll):
    node = supervised(intake={"expect_peer": "pacs"}, peers=[orthanc.peer.model_dump()])
    files = sorted(ct_series(slices=60), key=lambda path: dcmread(path).ImagePositionPatient[2])
    assert all(sent.ok for sent in send_files(orthanc.peer, files, "SCANNER"))
    node.send(*files[:40])  # complete by all evidence
    poll(lambda: waits_for(node, "40 of 60 images (pacs)"), what="the reason")
    node.send(*files[40:])
    poll(lambda: is_queued(node), what="the queue")
    job = node.only_job()
    assert (job.instances, job.expected, job.revision) == (60, 60, 1)
