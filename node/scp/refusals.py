"""Records in the ledger why associations and objects were refused; refusals of callers are limited in number."""

import logging

from node.errors import NodeError
from node.hosts import network_of
from node.ledger import Ledger
from node.records.instances import Association
from node.records.jobs import Refusal
from node.records.states import Reason
from node.scp.rate_limit import RateLimit

log = logging.getLogger(__name__)

ABOUT_CALLERS = frozenset(
    {Reason.REJECTED_PEER, Reason.EMPTY_ASSOCIATION, Reason.PROTOCOL_FAULT, Reason.CONTEXT_REJECTED}
)


class RefusalLog:
    """Writes refusals into the ledger; one instance serves all associations of a process."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._rate_limit = RateLimit()

    def record(self, association: Association, code: str, sentence: str) -> None:
        """Record a refusal unless its address has caused too many; of those of objects only the new rows count."""
        row = "" if code in ABOUT_CALLERS else f"{association.calling_ae}\\{code}\\{sentence}"
        caller = network_of(association.host)
        if not self._rate_limit.allows(caller, row):
            if self._rate_limit.just_exceeded(caller):
                log.warning("refusals of %s are not recorded for a minute: there are too many", caller)
            return
        try:
            self._ledger.decisions.record_refusal(Refusal(association.calling_ae, association.host, code, sentence))
        except NodeError as error:
            log.error("a refusal could not be recorded (%s): %s, from %s", error, sentence, association.calling_ae)
