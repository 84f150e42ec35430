"""How far a run over folds is: cases prepared, training steps done, scans measured."""

from collections.abc import Callable
from dataclasses import dataclass, field

Count = Callable[[int], None]


@dataclass
class ProtocolProgress:
    """Who is told, with numbers since the beginning of the whole run, whatever is trained or measured just then."""

    on_case: Count = lambda _: None
    on_step: Count = lambda _: None
    on_scan: Count = lambda _: None
    steps: int = field(default=0, init=False)
    scans: int = field(default=0, init=False)

    def step(self, done: int) -> None:
        """Take note of the steps done in the current training."""
        self.on_step(self.steps + done)

    def scan(self, done: int) -> None:
        """Take note of the scans done in the current measurement."""
        self.on_scan(self.scans + done)

    def finished(self, steps: int = 0, scans: int = 0, *, skipped: bool) -> None:
        """Count on after a training and a measurement of so much; of what was skipped nobody has been told yet."""
        self.steps, self.scans = self.steps + steps, self.scans + scans
        if skipped:
            self.step(0)
            self.scan(0)
