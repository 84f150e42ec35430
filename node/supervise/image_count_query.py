"""Asks a peer in the background how many images series have, so that a peer that is away delays nothing else."""

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
AT_ONCE = 4  # questions under way; further ones wait for a later tick

log = logging.getLogger(__name__)


@dataclass
class _Question:
    job: Receiving
    since: datetime
    begun: bool = False
    done: bool = False


class Inquiry:
    """The questions put to one peer. It is used by one thread, which never waits for an answer.

    patience: seconds to wait for each answer of the network, and after which a question counts as put in vain.
    """

    def __init__(self, ledger: Ledger, peer: Peer, calling_ae: str, patience: float) -> None:
        self._ledger = ledger
        self._peer = peer
        self._calling_ae = calling_ae
        self._patience = timedelta(seconds=patience)
        self._questions: dict[str, _Question] = {}
        self._under_way = 0
        self._replies: SimpleQueue[tuple[_Question, int | None, str]] = SimpleQueue()
        self._fault = ""

    def ask(self, job: Receiving) -> None:
        """Ask about a series, unless that was done with as many slices as are here now."""
        known = self._questions.get(job.id)
        if known is None or known.job.instances != job.instances:
            self._questions[job.id] = _Question(job, self._ledger.now())
            self._begin()

    def ask_again(self, job: Receiving) -> None:
        """Ask once more when the last answer is old; until then that one counts."""
        known = self._questions.get(job.id)
        if known is None:
            self.ask(job)
        elif known.done and self._ledger.now() - known.since >= ASK_AGAIN:
            known.since, known.begun = self._ledger.now(), False
            self._begin()

    def settled(self, job: Receiving) -> bool:
        """Tell whether a question with as many slices as are here now was answered, or was put in vain."""
        known = self._questions.get(job.id)
        if known is None or known.job.instances != job.instances:
            return False
        return known.done or self._ledger.now() - known.since >= self._patience

    def exchange(self, receiving: Collection[str]) -> None:
        """Write down the answers that came, forget the questions about other jobs, put those that wait.

        Raises LedgerError; the question it was about is then put again.
        """
        self._questions = {job_id: q for job_id, q in self._questions.items() if job_id in receiving}
        try:
            while True:
                self._take(*self._replies.get_nowait())
        except Empty:
            pass
        self._begin()

    def _begin(self) -> None:
        waiting = [question for question in self._questions.values() if not question.begun]
        for question in waiting[: max(AT_ONCE - self._under_way, 0)]:
            question.begun = True
            self._under_way += 1
            # A daemon: a peer that does not answer must not keep the supervisor from stopping.
            threading.Thread(target=self._put, args=(question,), name="inquiry", daemon=True).start()

    def _take(self, question: _Question, images: int | None, fault: str) -> None:
        self._under_way -= 1
        if fault and fault != self._fault:
            log.warning("no number of images: %s", fault)
        self._fault = fault
        job_id = question.job.id
        current = self._questions.pop(job_id, None)
        if current is None:
            return
        if images is not None:
            self._ledger.decisions.note_expected(job_id, images)
        current.done = current.done or current is question
        self._questions[job_id] = current

    def _put(self, question: _Question) -> None:
        job, images, fault = question.job, None, ""
        try:
            timeout = self._patience.total_seconds()
            images = count_images(self._peer, self._calling_ae, job.study_uid, job.series_uid, timeout)
        except NodeError as error:
            fault = str(error)
        except Exception as error:
            # The edge of this thread: whatever a peer does, its question must come to an end.
            log.exception("%s could not be asked", self._peer.name)
            fault = f"an unexpected error ({type(error).__name__})"
        self._replies.put((question, images, fault))
