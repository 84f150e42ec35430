"""Sends results to a peer: one association for everything a job owes it, each outcome recorded as it comes."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from node.errors import LedgerError, PeerError
from node.files.store import FileStore
from node.ledger import Ledger
from node.records.results import Delivery
from node.records.states import DeliveryState
from node.scu.storage import SendOutcome, send_files
from node.settings.settings import Settings

log = logging.getLogger(__name__)


def deliver(ledger: Ledger, settings: Settings, delivery_id: int, owner: str) -> None:
    """Send one result, and what else its job owes the same peer; what fails is waiting again or failed for good.

    Nothing happens if the delivery is not due or another worker has it. `owner` must be unique to this call.
    """
    DeliveryBatch(ledger, settings, owner).run(delivery_id)


class DeliveryBatch:
    """The deliveries of one job to one peer, sent over one association."""

    def __init__(self, ledger: Ledger, settings: Settings, owner: str) -> None:
        self._ledger = ledger
        self._settings = settings
        self._owner = owner
        self._store = FileStore(settings.data)
        self._open: dict[Path, Delivery] = {}  # by the file to send

    def run(self, delivery_id: int) -> None:
        """Claim the delivery and its siblings, send them, and record each outcome."""
        try:
            for delivery in self._claimed(delivery_id):
                path = self._store.path(delivery.result.key)
                self._open[path] = delivery
                fault = self._exhausted(delivery) or delivery.result.fault(path)
                if fault:
                    self._failed(self._open.pop(path), fault, retry=False)
            if self._open:
                self._send()
        except LedgerError:
            raise  # nothing can be recorded now; the lease runs out and the delivery is tried again
        except Exception as error:
            # The edge: an unexpected error is a failed attempt like any other, or it would repeat for ever.
            log.exception("delivery %d was stopped by an unexpected error", delivery_id)
            sentence = f"unexpected error ({type(error).__name__}); the log of the node has the details"
            for delivery in tuple(self._open.values()):
                self._failed(delivery, sentence, retry=True)

    def _exhausted(self, delivery: Delivery) -> str | None:
        """Return why to give up if the last allowed attempt ended without an outcome, as when its process is killed."""
        before = delivery.attempts - 1
        if before < self._settings.delivery.max_attempts:
            return None
        return f"given up after {before} attempts: {delivery.reason or 'the sender was stopped in the middle'}"

    def _claimed(self, delivery_id: int) -> Iterator[Delivery]:
        first = self._claim(delivery_id)
        if first is None:
            log.info("delivery %d is not due or another worker has it", delivery_id)
            return
        yield first
        for other in self._ledger.queries.job(first.job_id).deliveries:
            if other.peer == first.peer and other.state is DeliveryState.WAITING:
                also = self._claim(other.id)
                if also is not None:
                    yield also

    def _claim(self, delivery_id: int) -> Delivery | None:
        return self._ledger.outbox.claim(delivery_id, self._owner, self._settings.delivery.lease_seconds)

    def _send(self) -> None:
        name = next(iter(self._open.values())).peer
        peer = self._settings.peer(name)
        if peer is None:
            for delivery in tuple(self._open.values()):
                sentence = f"the settings have no peer {name} any more: add it under [[peers]], then retry"
                self._failed(delivery, sentence, retry=False)
            return
        try:
            calling, timeout = self._settings.node.ae_title, self._settings.delivery.timeout_seconds
            send_files(peer, tuple(self._open), calling, self._note, timeout)
        except PeerError as error:
            for delivery in tuple(self._open.values()):
                self._failed(delivery, str(error), retry=error.retry)

    def _note(self, sent: SendOutcome) -> None:
        delivery = self._open.pop(sent.path)
        if sent.ok:
            self._ledger.outbox.delivered(delivery.id, self._owner)
            log.info("job %s: %s has %s", delivery.job_id, delivery.peer, delivery.result.kind)
        else:
            self._failed(delivery, sent.reason, retry=sent.retry)
        for waiting in self._open.values():
            self._ledger.outbox.extend_lease(waiting.id, self._owner, self._settings.delivery.lease_seconds)

    def _failed(self, delivery: Delivery, reason: str, *, retry: bool) -> None:
        rules = self._settings.delivery
        if retry and delivery.attempts < rules.max_attempts:
            wait = rules.backoff_seconds[min(delivery.attempts, len(rules.backoff_seconds)) - 1]
            next_at = self._ledger.now() + timedelta(seconds=wait)
        else:
            next_at = None
            if retry:
                reason = f"given up after {delivery.attempts} attempts: {reason}"
        self._ledger.outbox.failed(delivery.id, self._owner, reason, next_at=next_at)
        log.warning("job %s: %s did not receive %s: %s", delivery.job_id, delivery.peer, delivery.result.kind, reason)
