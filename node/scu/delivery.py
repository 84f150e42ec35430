"""Sends results to a peer: one association for everything a job owes it, each outcome recorded as it comes."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from pydicom import dcmread

from node.errors import LedgerError, PeerError
from node.files.store import FileStore
from node.ledger import Ledger
from node.records.results import Delivery
from node.records.states import DeliveryState
from node.scu.association import SLOWEST
from node.scu.find import WHOLE, ObjectName, known_objects
from node.scu.stop_signal import StopSignal
from node.scu.storage import Patience, SendOutcome, send_files
from node.settings.routing import Peer
from node.settings.settings import Settings

MOST_PATIENT = 20
"""The wait for a response grows to so many times `delivery.timeout_seconds`."""

log = logging.getLogger(__name__)


def deliver(ledger: Ledger, settings: Settings, delivery_id: int, owner: str, stop: StopSignal | None = None) -> None:
    """Send one result, and what else its job owes the same peer; what fails is waiting again or failed for good.

    Nothing happens if the delivery is not due, another worker has it, or enough others send to its peer. `owner` must
    be unique to this call. stop: ends the sending from another thread; what is not sent is due again at once.
    """
    DeliveryBatch(ledger, settings, owner, stop or StopSignal()).run(delivery_id)


class DeliveryBatch:
    """The deliveries of one job to one peer, sent over one association."""

    def __init__(self, ledger: Ledger, settings: Settings, owner: str, stop: StopSignal) -> None:
        self._ledger = ledger
        self._settings = settings
        self._owner = owner
        self._stop = stop
        self._errand = StopSignal(stop)  # ends this batch alone
        self._store = FileStore(settings.data)
        self._open: dict[Path, Delivery] = {}  # by the file to send

    def run(self, delivery_id: int) -> None:
        """Claim the delivery and its siblings, send them, and record each outcome."""
        if self._stop.is_set:
            return
        peer = ""
        try:
            for delivery in self._claimed(delivery_id):
                peer = delivery.peer
                path = self._store.path(delivery.result.key)
                self._open[path] = delivery
                fault = self._exhausted(delivery) or delivery.result.fault(path)
                if fault:
                    self._failed(self._open.pop(path), fault, retry=False)
            if self._open:
                with self._watched():
                    self._send(peer)
        except LedgerError:
            raise  # nothing can be recorded now; the lease runs out and the delivery is tried again
        except Exception as error:
            # The edge: an unexpected error is a failed attempt like any other, or it would repeat for ever.
            log.exception("delivery %d was stopped by an unexpected error", delivery_id)
            self._all_failed(f"unexpected error ({type(error).__name__}); the log of the node has the details")
        if peer:
            self._ledger.outbox.announce_next(peer)

    def _exhausted(self, delivery: Delivery) -> str | None:
        """Return why to give up if the last allowed attempt ended without an outcome, as when its process is killed."""
        before = delivery.attempts - 1
        if before < self._settings.delivery.max_attempts:
            return None
        return f"given up after {before} attempts: {delivery.reason or 'the sender was stopped in the middle'}"

    def _claimed(self, delivery_id: int) -> Iterator[Delivery]:
        first = self._claim(delivery_id)
        if first is None:
            log.info("delivery %d is not due, or others send it or to its peer", delivery_id)
            return
        yield first
        for other in self._ledger.queries.job(first.job_id).deliveries:
            if other.peer == first.peer and other.state is DeliveryState.WAITING:
                also = self._claim(other.id)
                if also is not None:
                    yield also

    def _claim(self, delivery_id: int) -> Delivery | None:
        return self._ledger.outbox.claim(delivery_id, self._owner, self._settings.delivery.lease_seconds)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Extend the leases while the block runs; shut its socket when its time is over or the claims are lost."""
        done = threading.Event()
        until = time.monotonic() + self._longest()

        def watch() -> None:
            while not done.wait(self._settings.delivery.lease_seconds / 4):
                if time.monotonic() > until or not self._extend_leases():
                    self._errand.set()
                    return

        watcher = threading.Thread(target=watch, name="delivery-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _longest(self) -> float:
        """Return a time in seconds after which this batch cannot still be right: each step has its own time limit."""
        steps = 2 * (WHOLE + len(self._open)) * self._settings.delivery.timeout_seconds
        answers = len(self._open) * self._answer_seconds(next(iter(self._open.values())).peer)
        return steps + answers + sum(delivery.result.size for delivery in self._open.values()) / SLOWEST

    def _extend_leases(self) -> bool:
        """Extend the leases of what is not sent yet; False if all claims are lost, as when a person cancels the job."""
        rows = tuple(self._open.items())
        seconds = self._settings.delivery.lease_seconds
        try:
            kept = [self._ledger.outbox.extend_lease(delivery.id, self._owner, seconds) for _, delivery in rows]
        except LedgerError as error:
            log.warning("the lease of a delivery was not extended: %s", error)
            return True
        return any(kept) or any(path not in self._open for path, _ in rows) or not rows

    def _answer_seconds(self, peer: str) -> float:
        """Return how long to wait for the response to an object: twice as long after each without one."""
        grown = min(1 << min(self._ledger.outbox.unanswered(peer), 16), MOST_PATIENT)
        return self._settings.delivery.timeout_seconds * grown

    def _send(self, name: str) -> None:
        peer = self._settings.peer(name)
        if peer is None:
            sentence = f"the settings have no peer {name} any more: add it under [[peers]], or retry: "
            self._all_failed(f"{sentence}the results then go where the present settings say", retry=False)
            return
        try:
            self._note_what_arrived(peer)
            if self._open:
                timeout = self._settings.delivery.timeout_seconds
                patience = Patience(self._answer_seconds(name), self._errand)
                send_files(peer, tuple(self._open), self._calling_ae, self._note, timeout, patience)
        except PeerError as error:
            self._all_failed(str(error), retry=error.retry)

    @property
    def _calling_ae(self) -> str:
        return self._settings.node.ae_title

    def _note_what_arrived(self, peer: Peer) -> None:
        """Ask the peer for the objects that it may have got without an answer; those it has are delivered."""
        names = {_name_of(path): path for path, delivery in self._open.items() if delivery.unanswered}
        if not names:
            return
        timeout = self._settings.delivery.timeout_seconds
        try:
            there = known_objects(peer, self._calling_ae, tuple(names), timeout, self._errand)
        except PeerError as error:  # it offers no C-FIND, or is away: the object is sent again, with more patience
            log.info("what arrived cannot be asked for: %s", error)
            return
        for name, path in names.items():
            if name.sop_uid in there:
                self._delivered(self._open.pop(path), "it has the result already, as its answer to C-FIND says")

    def _note(self, sent: SendOutcome) -> None:
        delivery = self._open.pop(sent.path)
        if sent.ok:
            self._delivered(delivery, sent.reason)
        else:
            self._failed(delivery, sent.reason, retry=sent.retry, unanswered=sent.unanswered)

    def _delivered(self, delivery: Delivery, remark: str) -> None:
        self._ledger.outbox.delivered(delivery.id, self._owner)
        log.info("job %s: %s has %s %s", delivery.job_id, delivery.peer, delivery.result.kind, remark)

    def _all_failed(self, reason: str, *, retry: bool = True) -> None:
        for path in tuple(self._open):
            self._failed(self._open.pop(path), reason, retry=retry)

    def _failed(self, delivery: Delivery, reason: str, *, retry: bool, unanswered: bool = False) -> None:
        if self._stop.is_set:
            self._ledger.outbox.give_back(delivery.id, self._owner, unanswered=unanswered)
            return
        rules = self._settings.delivery
        if retry and delivery.attempts < rules.max_attempts:
            wait = rules.backoff_seconds[min(delivery.attempts, len(rules.backoff_seconds)) - 1]
            next_at = self._ledger.now() + timedelta(seconds=wait)
        else:
            next_at = None
            if retry:
                reason = f"given up after {delivery.attempts} attempts: {reason}"
        self._ledger.outbox.failed(delivery.id, self._owner, reason, next_at=next_at, unanswered=unanswered)
        log.warning("job %s: %s did not receive %s: %s", delivery.job_id, delivery.peer, delivery.result.kind, reason)


def _name_of(path: Path) -> ObjectName:
    """Return the UIDs of a result file, which the worker has made and `Result.fault` has checked."""
    keywords = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    header = dcmread(path, stop_before_pixels=True, specific_tags=keywords)
    return ObjectName(*(str(header[keyword].value) for keyword in keywords))
