"""One crash run from the first file to the verdict."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.crash.facts import Facts, LedgerReader
from e2e.crash.killer import Killer
from e2e.crash.node_under_fire import NodeUnderFire
from e2e.crash.pacs import Pacs
from e2e.crash.plan import Timing
from e2e.crash.report import Outcome, Times
from e2e.crash.senders import Senders
from e2e.crash.studies import Study
from e2e.crash.verdict import violations

LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Campaign:
    """How one run goes. kill_seconds: mean time between kills. rounds: of kills at least, each of every part; 0: none.

    standstill_seconds: when nothing has been finished for so long, it is over. real: the product's own segmenter.
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
        """Send, kill, wait until the queue is quiet, start again, and look at everything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with Pacs() as pacs, NodeUnderFire(self.folder, pacs.port, self.timing, real=self.real) as node:
            node.start()
            ledger = LedgerReader(node.data)
            senders = Senders(node.dicom_port, pacs.has_result, self.send_seconds)
            killer = Killer(node, self.seed, self.kill_seconds, self.rounds)
            begin = time.monotonic()
            killer.start()
            senders.send(studies, self.threads)
            sent = time.monotonic() - begin
            log.info("everything sent after %.0f s", sent)
            killer.finish()
            self._wait_until_quiet(ledger)
            whole = time.monotonic() - begin
            complaints = self._restart(node, ledger)
            facts = Facts(
                studies,
                senders.traces,
                ledger.rows(),
                ledger.jobs(),
                ledger.refusals(),
                list(pacs.stored),
                ledger.leftovers(),
                tuple(complaints),
                results_by_uid=not self.real,
            )
            found = violations(facts)
            return Outcome(self.title, facts, killer.kills, node.starts, Times(sent, whole), found)

    def _restart(self, node: NodeUnderFire, ledger: LedgerReader) -> list[str]:
        """Stop the node in order and start it again; return what was wrong."""
        code = node.stop()
        complaints = [f"`up` ended with code {code}"] if code else []
        node.start()
        self._wait_until_quiet(ledger)
        return complaints + node.complaints()

    def _wait_until_quiet(self, ledger: LedgerReader) -> None:
        """Wait until nothing is on its way, or until that number has not changed for too long."""
        before, since = -1, time.monotonic()
        while (left := ledger.unfinished()) and time.monotonic() - since < self.standstill_seconds:
            if left != before:
                before, since = left, time.monotonic()
                log.info("%d on their way", left)
            time.sleep(LOOK_SECONDS)
