"""Progress of a run over folds: cases prepared, training steps done, scans measured."""

from collections.abc import Callable
from dataclasses import dataclass, field

Count = Callable[[int], None]


@dataclass
class ProtocolProgress:
    """Passes progress to callbacks, with numbers counted from the beginning of the whole run."""

    on_case: Count = lambda _: None
    on_step: Count = lambda _: None
    on_scan: Count = lambda _: None
    steps: int = field(default=0, init=False)
    scans: int = field(default=0, init=False)

    def step(self, done: int) -> None:
        """Report the steps done in the current training."""
        self.on_step(self.steps + done)

    def scan(self, done: int) -> None:
        """Report the scans done in the current measurement."""
        self.on_scan(self.scans + done)

    def finished(self, steps: int = 0, scans: int = 0, *, skipped: bool) -> None:
        """Add a finished training and measurement to the counts, and report them if they were skipped."""
        self.steps, self.scans = self.steps + steps, self.scans + scans
        if skipped:
            self.step(0)
            self.scan(0)
