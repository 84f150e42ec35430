"""The supervisor: twice a second it moves series on to the workers, and results to their peers.

Every change is conditional on the state in the ledger, so two supervisors do no harm.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, TypeVar

from node.dispatch.celery_app import delivery_threads
from node.dispatch.dispatcher import BrokerDownError
from node.errors import LedgerError, NodeError, NotAllowedError
from node.files.results import remove_unrecorded
from node.files.retention import RetentionStage
from node.ledger import Ledger
from node.records.jobs import Decision, Job, Receiving
from node.records.processes import Process, ProcessKind, allowed_silence
from node.records.states import JobState, Reason
from node.settings.settings import Settings
from node.supervise.clock_watch import ClockWatch
from node.supervise.completeness_stage import CompletenessStage
from node.supervise.selection_stage import SelectionStage

TICK_SECONDS = 0.5
NEVER_AGAIN = timedelta(days=36500).total_seconds()
FORGOTTEN_AFTER = timedelta(days=1)
REMOVE_UNRECORDED_SECONDS = 600.0
WAITS_FOR_BROKER = "waiting: the broker does not take messages; `qct-node check` says why"

Judged = TypeVar("Judged", Job, Receiving)

log = logging.getLogger(__name__)


class WorkDispatcher(Protocol):
    """What the supervisor needs of `node.dispatch.dispatcher.Dispatcher`."""

    def segment(self, job_id: str) -> None:
        """Wake a segmenting worker."""

    def deliver(self, delivery_id: int) -> None:
        """Wake a delivering worker."""


class Supervisor:
    """Decides on series, ends the claims of dead workers and wakes workers, tick by tick."""

    def __init__(self, ledger: Ledger, settings: Settings, dispatcher: WorkDispatcher) -> None:
        self._ledger = ledger
        self._settings = settings
        self._dispatcher = dispatcher
        self._broker_down: bool | None = None
        self._next_removal = 0.0
        self._retention = RetentionStage(ledger, settings.retention)
        self._completeness = CompletenessStage(ledger, settings)
        self._selection = SelectionStage(ledger, settings)

    def run(self, stop: threading.Event, every: float = TICK_SECONDS) -> None:
        """Tick until `stop` is set; a tick that fails is logged, and the next one tries again."""
        clock, jump, settled = ClockWatch(self._ledger.now), timedelta(0), False
        while not stop.wait(every):
            try:
                jump += clock.jump()
                if jump or not settled:
                    self._settle_clock(jump)
                    jump, settled = timedelta(0), True
                self.tick()
            except LedgerError as error:
                log.error("%s", error)
                stop.wait(5.0)
            except Exception:
                log.exception("a tick failed")
                stop.wait(5.0)

    def _settle_clock(self, jump: timedelta) -> None:
        moved = self._ledger.clock_jumps.settle(self._settings, jump)
        if jump or moved:
            seconds = jump.total_seconds()
            log.warning("the clock was set by %.0f s; %d times in the ledger were moved along", seconds, moved)

    def tick(self) -> None:
        """Do everything that can be done now."""
        self._ledger.associations.end_lost([process.name for process in self._alive(ProcessKind.SCP)])
        for arriving in self._completeness.due():
            self._decide(arriving, self._completeness.judge)
        for job in self._selection.due():
            self._decide(job, self._selection.judge)
        for job_id in self._ledger.queue.reap_expired(self._settings.jobs.max_attempts):
            log.warning("job %s lost its worker", job_id)
        self._forget()
        try:
            self._dispatch()
        except BrokerDownError as error:
            if self._broker_down is not True:
                log.warning("%s", error)
            self._broker_down = True
            self._ledger.broker_waits.explain(WAITS_FOR_BROKER)
        else:
            if self._broker_down is not False:  # None: a former supervisor may have explained something
                self._ledger.broker_waits.clear(WAITS_FOR_BROKER)
            self._broker_down = False
        self._retention.tick()
        self._remove_unrecorded()

    def _remove_unrecorded(self) -> None:
        if time.monotonic() >= self._next_removal:
            self._next_removal = time.monotonic() + REMOVE_UNRECORDED_SECONDS
            remove_unrecorded(self._ledger)

    def _decide(self, job: Judged, decision_about: Callable[[Judged], Decision]) -> None:
        try:
            decision = decision_about(job)
        except (NodeError, MemoryError):
            raise  # this says nothing about the series, and the next tick tries again
        except Exception as error:
            # One series that cannot be judged must not stop all others.
            log.exception("job %s cannot be judged", job.id)
            sentence = f"an unexpected error ({type(error).__name__}) stopped the decision; the log has the details"
            decision = Decision(JobState.HELD, Reason.UNEXPECTED, sentence)
        try:
            if self._ledger.decisions.apply(job.id, decision, job):
                # The reason may name a series by its description, which stands in the ledger, but in no log.
                log.info("job %s: %s %s", job.id, decision.state, decision.code)
        except NotAllowedError:
            log.info("job %s was changed by another process in the meantime", job.id)

    def _dispatch(self) -> None:
        """Announce new work, and again work that an idle worker should have claimed: its message is lost.

        While all workers are busy or away, announcing it again would only fill the broker.
        """
        again = self._settings.jobs.redispatch_seconds
        idle = len(self._alive(ProcessKind.SEGMENT_WORKER)) > self._ledger.queries.counts()[JobState.RUNNING]
        for job_id in self._ledger.queue.due(again if idle else NEVER_AGAIN):
            self._dispatcher.segment(job_id)
            self._ledger.queue.mark_dispatched(job_id)
        threads = len(self._alive(ProcessKind.DELIVERY_WORKER)) * delivery_threads(self._settings)
        idle = threads > self._ledger.outbox.count_senders()
        for delivery_id in self._ledger.outbox.due(again if idle else NEVER_AGAIN):
            self._dispatcher.deliver(delivery_id)
            self._ledger.outbox.mark_dispatched(delivery_id)

    def _forget(self) -> None:
        """Remove associations that ended long ago, and the reports of processes that were killed then.

        Processes that stop in order do it themselves.
        """
        self._ledger.associations.forget(self._ledger.now() - FORGOTTEN_AFTER)
        for process in self._ledger.processes.all():
            if not process.is_alive(self._ledger.now(), FORGOTTEN_AFTER):
                self._ledger.processes.remove(process.name)

    def _alive(self, kind: ProcessKind) -> list[Process]:
        now, allowed = self._ledger.now(), allowed_silence(self._settings.jobs.heartbeat_seconds)
        return [p for p in self._ledger.processes.all() if p.kind == kind and p.is_alive(now, allowed)]
