"""Asks a peer in the background how many images a series has, so that a peer that is away delays nothing else."""

import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from node.errors import NodeError
from node.ledger import Ledger
from node.records.jobs import Receiving
from node.scu.find import count_images
from node.settings.routing import Peer

ASK_AGAIN = timedelta(seconds=5)
MAX_CONCURRENT = 4  # queries under way; further ones wait for a later tick

log = logging.getLogger(__name__)


@dataclass
class _Query:
    job: Receiving
    since: datetime
    begun: bool = False
    done: bool = False


class ImageCountQuery:
    """The C-FIND queries to one peer. It is used by one thread, which never waits for an answer.

    timeout: seconds to wait for each response of the peer; a query without an answer after it counts as failed.
    """

    def __init__(self, ledger: Ledger, peer: Peer, calling_ae: str, timeout: float) -> None:
        self._ledger = ledger
        self._peer = peer
        self._calling_ae = calling_ae
        self._timeout = timedelta(seconds=timeout)
        self._queries: dict[str, _Query] = {}
        self._under_way = 0
        self._replies: SimpleQueue[tuple[_Query, int | None, str]] = SimpleQueue()
        self._fault = ""

    def ask(self, job: Receiving) -> None:
        """Ask about a series, unless that was done since its last slice arrived."""
        known = self._queries.get(job.id)
        if known is None or known.job.instances != job.instances:
            self._queries[job.id] = _Query(job, self._ledger.now())
            self._start_waiting()

    def ask_again(self, job: Receiving) -> None:
        """Ask once more when the last answer is old; until then the last answer counts."""
        known = self._queries.get(job.id)
        if known is None:
            self.ask(job)
        elif known.done and abs(self._ledger.now() - known.since) >= ASK_AGAIN:
            known.since, known.begun = self._ledger.now(), False
            self._start_waiting()

    def settled(self, job: Receiving) -> bool:
        """Tell whether a query made since the last slice arrived was answered, or has failed."""
        known = self._queries.get(job.id)
        if known is None or known.job.instances != job.instances:
            return False
        return known.done or abs(self._ledger.now() - known.since) >= self._timeout

    def exchange(self, receiving: Collection[str]) -> None:
        """Record the answers that came, drop the queries about other jobs, start those that wait.

        Raises LedgerError; the query whose answer was to be recorded is then made again.
        """
        self._queries = {job_id: query for job_id, query in self._queries.items() if job_id in receiving}
        try:
            while True:
                self._record(*self._replies.get_nowait())
        except Empty:
            pass
        self._start_waiting()

    def _start_waiting(self) -> None:
        waiting = [query for query in self._queries.values() if not query.begun]
        for query in waiting[: max(MAX_CONCURRENT - self._under_way, 0)]:
            query.begun = True
            self._under_way += 1
            # A daemon: a peer that does not answer must not keep the supervisor from stopping.
            threading.Thread(target=self._run, args=(query,), name="image-count-query", daemon=True).start()

    def _record(self, query: _Query, images: int | None, fault: str) -> None:
        self._under_way -= 1
        if fault and fault != self._fault:
            log.warning("no number of images: %s", fault)
        self._fault = fault
        job_id = query.job.id
        current = self._queries.pop(job_id, None)
        if current is None:
            return
        if images is not None:
            self._ledger.decisions.note_expected(job_id, images)
        current.done = current.done or current is query
        self._queries[job_id] = current

    def _run(self, query: _Query) -> None:
        job, images, fault = query.job, None, ""
        try:
            timeout = self._timeout.total_seconds()
            images = count_images(self._peer, self._calling_ae, job.study_uid, job.series_uid, timeout)
        except NodeError as error:
            fault = str(error)
        except Exception as error:
            # The edge of this thread: whatever a peer does, its query must come to an end.
            log.exception("%s could not be asked", self._peer.name)
            fault = f"an unexpected error ({type(error).__name__})"
        self._replies.put((query, images, fault))
