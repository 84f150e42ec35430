"""Sends results to a peer: one association for everything a job owes it, each outcome recorded as it comes."""

import hashlib
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from node.errors import PeerError
from node.ledger import Ledger
from node.ledger.records import Delivery
from node.scu import Sent, send_files
from node.settings import Settings
from node.states import DeliveryState

log = logging.getLogger(__name__)


def deliver(ledger: Ledger, settings: Settings, delivery_id: int, owner: str) -> None:
    """Send one result, and what else its job owes the same peer; what fails is waiting again or failed for good.

    Nothing happens if the delivery is not due or somebody else is at it. `owner` must be of this call alone.
    """
    _Errand(ledger, settings, owner).run(delivery_id)


class _Errand:
    """One association's worth of deliveries."""

    def __init__(self, ledger: Ledger, settings: Settings, owner: str) -> None:
        self._ledger = ledger
        self._settings = settings
        self._owner = owner
        self._open: dict[Path, Delivery] = {}

    def run(self, delivery_id: int) -> None:
        for delivery in self._claimed(delivery_id):
            fault = _fault(delivery)
            if fault:
                self._failed(delivery, fault, retry=False)
            else:
                self._open[delivery.result.path] = delivery
        if self._open:
            self._send()

    def _claimed(self, delivery_id: int) -> Iterator[Delivery]:
        first = self._claim(delivery_id)
        if first is None:
            log.info("delivery %d is not due or somebody else is at it", delivery_id)
            return
        yield first
        for other in self._ledger.job(first.job_id).deliveries:
            if other.peer == first.peer and other.state is DeliveryState.WAITING:
                also = self._claim(other.id)
                if also is not None:
                    yield also

    def _claim(self, delivery_id: int) -> Delivery | None:
        return self._ledger.claim_delivery(delivery_id, self._owner, self._settings.delivery.lease_seconds)

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

    def _note(self, sent: Sent) -> None:
        delivery = self._open.pop(sent.path)
        if sent.ok:
            self._ledger.delivered(delivery.id, self._owner)
            log.info("job %s: %s has %s", delivery.job_id, delivery.peer, delivery.result.kind)
        else:
            self._failed(delivery, sent.reason, retry=sent.retry)
        for waiting in self._open.values():
            self._ledger.prolong_delivery(waiting.id, self._owner, self._settings.delivery.lease_seconds)

    def _failed(self, delivery: Delivery, reason: str, *, retry: bool) -> None:
        rules = self._settings.delivery
        if retry and delivery.attempts < rules.max_attempts:
            wait = rules.backoff_seconds[min(delivery.attempts, len(rules.backoff_seconds)) - 1]
            next_at = self._ledger.now() + timedelta(seconds=wait)
        else:
            next_at = None
            if retry:
                reason = f"given up after {delivery.attempts} attempts: {reason}"
        self._ledger.delivery_failed(delivery.id, self._owner, reason, next_at=next_at)
        log.warning("job %s: %s did not get %s: %s", delivery.job_id, delivery.peer, delivery.result.kind, reason)


def _fault(delivery: Delivery) -> str | None:
    """Tell what is wrong with the file: what leaves must be what the worker recorded."""
    path = delivery.result.path
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"the result {path} cannot be read ({error.strerror}): segment the series again"
    if digest != delivery.result.sha256:
        return f"the result {path} was changed after it was made (SHA-256 differs): segment the series again"
    return None
