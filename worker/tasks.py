"""The two tasks: `qct.segment` runs one claimed job, `qct.deliver` sends what is due to one peer.

Both are the edge where any error becomes a recorded reason; a message is only a hint, the ledger decides.
"""

import logging
import os
import socket
import uuid
from functools import cached_property

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Task

from node.decide.recipients import recipients
from node.dispatch.celery_app import DELIVER_TASK, SEGMENT_TASK
from node.errors import InboxError, LedgerError
from node.files.received_files import check_series
from node.files.results import ResultFolder
from node.ledger import Ledger
from node.ledger.job_queue import attempt_of
from node.records.jobs import Decision, Job
from node.records.states import JobState, Reason
from node.scu.delivery import deliver
from node.scu.stop_signal import StopSignal
from node.settings.settings import Settings
from segmenter.errors import refusal_for
from worker.heartbeat import ClaimLostError, Heartbeat, StoppingError
from worker.segmentation import Extras, Segmenter

log = logging.getLogger(__name__)


class LedgerTask(Task):  # type: ignore[misc]
    """A task with settings and, opened once per process, the ledger."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of this process."""
        return Ledger.of(self.settings)


class DeliverTask(LedgerTask):
    """Sends one outbox row, with all others that are due to the same peer."""

    name = DELIVER_TASK

    def __init__(self, settings: Settings, stop: StopSignal) -> None:
        super().__init__(settings)
        self.stop = stop

    def run(self, delivery_id: int) -> None:
        """Deliver; what cannot be sent now is waiting again in the ledger."""
        deliver(self.ledger, self.settings, delivery_id, new_claim_owner(), self.stop)


class SegmentTask(LedgerTask):
    """Runs the segmenter on one job: claim, segment, keep, record."""

    name = SEGMENT_TASK

    def __init__(self, settings: Settings, segmenter: Segmenter) -> None:
        super().__init__(settings)
        self.segmenter = segmenter

    def run(self, job_id: str) -> None:
        """Run one job. The message only wakes the worker: finding no job to run is not an error."""
        worker, jobs = new_claim_owner(), self.settings.jobs
        job = self._claim(job_id, worker)
        if job is None:
            log.info("job %s is not to be run any more", job_id)
            return
        job_id = job.id
        log.info("job %s: attempt %d of %d", job_id, job.attempts, jobs.max_attempts)
        folder = ResultFolder(self.settings.data, job_id, attempt_of(worker))
        try:
            folder.create()
            with Heartbeat(
                lambda stage: self.ledger.queue.extend_lease(job_id, worker, jobs.lease_seconds, stage),
                jobs.heartbeat_seconds,
            ) as heartbeat:
                self._segment(job, worker, folder, heartbeat)
        except ClaimLostError:
            log.info("job %s: the claim is lost; nothing is recorded", job_id)
        except StoppingError:
            self.ledger.queue.give_back(job_id, worker)
            log.info("job %s is back in the queue: the worker stops", job_id)
        except LedgerError:
            raise  # nothing can be recorded now; the lease runs out and the job is tried again
        except Exception as error:
            decision = self._decide(error, job)
            self.ledger.queue.stop(job_id, worker, decision)
            unexpected = decision.code == Reason.UNEXPECTED
            log.log(
                logging.ERROR if unexpected else logging.INFO,
                "job %s: %s",
                job_id,
                decision.reason,
                exc_info=unexpected,
            )
        finally:
            folder.discard_unless_kept()

    def _claim(self, job_id: str, worker: str) -> Job | None:
        """Claim the most urgent job in the queue, whichever it is: each job has a message, so all of them are run."""
        while (urgent := self.ledger.queue.most_urgent()) is not None:
            job = self.ledger.queue.claim(urgent, worker, self.settings.jobs.lease_seconds)
            if job is not None:
                return job
        return self.ledger.queue.claim(job_id, worker, self.settings.jobs.lease_seconds)

    def _segment(self, job: Job, worker: str, folder: ResultFolder, heartbeat: Heartbeat) -> None:
        received = check_series(self.ledger, job.id)
        if received.changed:  # the job is held, or another one has taken its place
            self.ledger.missing_files.mark_missing(
                received.changed, "gone, or not as received (then moved to `set-aside`)"
            )
            raise ClaimLostError
        wanted, peers = self.settings.wanted_kinds, job.destinations or ()
        labelmap = any("labelmap" in wanted.get(peer, ()) for peer in peers)
        earlier = [self.settings.data / key for key in self.ledger.queries.earlier_results(job.id)]
        produced = self.segmenter.segment(
            received.files,
            folder.path,
            job.completed if earlier else job.created,
            heartbeat.stage,
            job.model,
            Extras(labelmap, tuple(path for path in earlier if path.is_file())),
        )
        heartbeat.stage("keep")
        results = folder.keep(produced.files)
        sent_to = {result: recipients(result, results, peers, wanted) for result in results}
        if not self.ledger.queue.finish(job.id, worker, sent_to, produced.report):
            folder.discard()
            raise ClaimLostError
        log.info("job %s: %d files made", job.id, len(produced.files))

    def _decide(self, error: Exception, job: Job) -> Decision:
        """Return what an error means for the job."""
        jobs = self.settings.jobs
        refusal = refusal_for(error)
        if refusal is not None:
            again = refusal.retry and job.attempts < jobs.max_attempts
            state = JobState.QUEUED if again else JobState(refusal.verdict)
            return Decision(state, str(refusal.reason), str(refusal))
        if isinstance(error, InboxError):
            return Decision(JobState.FAILED, Reason.MISSING_FILE, str(error))
        if isinstance(error, SoftTimeLimitExceeded):
            sentence = f"the segmentation took longer than soft_time_limit = {jobs.soft_time_limit:g} s"
        else:
            sentence = f"an unexpected error ({type(error).__name__}) stopped the segmentation; the log has the details"
        return Decision(JobState.FAILED, Reason.UNEXPECTED, sentence)


def new_claim_owner() -> str:
    """Return a name for one claim that nobody else has: host, process and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
