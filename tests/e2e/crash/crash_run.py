"""One crash run, from the first file sent to the checks at its end."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.crash.checks import violations
from e2e.crash.end_state import EndState, LedgerReader
from e2e.crash.pacs import Pacs
from e2e.crash.process_killer import ProcessKiller
from e2e.crash.report import Outcome, Times
from e2e.crash.restarted_node import RestartedNode
from e2e.crash.senders import Senders
from e2e.crash.studies import Study
from e2e.crash.study_plan import Timing

LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrashRun:
    """The settings of one run. kill_seconds: mean time between kills.

    rounds: the least number of rounds of kills, each of which kills every part once; 0: no kills.
    standstill_seconds: the run ends when no job has finished for so long. real: use the product's own segmenter.
    """

    title: str
    folder: Path
    seed: int
    timing: Timing
    threads: int = 8
    kill_seconds: float = 4.0
    rounds: int = 1
    send_seconds: float = 7200.0
    standstill_seconds: float = 120.0
    real: bool = False

    def run(self, studies: list[Study]) -> Outcome:
        """Send and kill, wait until the queue is idle, restart the node, and check everything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with Pacs() as pacs, RestartedNode(self.folder, pacs.port, self.timing, real=self.real) as node:
            node.start()
            ledger = LedgerReader(node.data)
            senders = Senders(node.dicom_port, pacs.has_result, self.send_seconds)
            killer = ProcessKiller(node, self.seed, self.kill_seconds, self.rounds)
            begin = time.monotonic()
            killer.start()
            senders.send(studies, self.threads)
            sent = time.monotonic() - begin
            log.info("everything sent after %.0f s", sent)
            killer.finish()
            self._wait_until_idle(ledger)
            whole = time.monotonic() - begin
            complaints = self._restart(node, ledger)
            end_state = EndState(
                studies,
                senders.send_logs,
                ledger.rows(),
                ledger.jobs(),
                ledger.refusals(),
                list(pacs.stored),
                ledger.leftovers(),
                tuple(complaints),
                results_by_uid=not self.real,
            )
            found = violations(end_state)
            return Outcome(self.title, end_state, killer.kills, node.starts, Times(sent, whole), found)

    def _restart(self, node: RestartedNode, ledger: LedgerReader) -> list[str]:
        """Stop the node with SIGTERM and start it again; return what went wrong."""
        code = node.stop()
        complaints = [f"`up` ended with code {code}"] if code else []
        node.start()
        self._wait_until_idle(ledger)
        return complaints + node.complaints()

    def _wait_until_idle(self, ledger: LedgerReader) -> None:
        """Wait until no job is in progress, or until their number has not changed for too long."""
        before, since = -1, time.monotonic()
        while (left := ledger.unfinished()) and time.monotonic() - since < self.standstill_seconds:
            if left != before:
                before, since = left, time.monotonic()
                log.info("%d in progress", left)
            time.sleep(LOOK_SECONDS)
