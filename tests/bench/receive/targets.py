"""The targets of the benchmark and their report: target, measured, met or not. None of them is asserted."""

import os
from dataclasses import asdict, dataclass

REPEATS = int(os.environ.get("QCT_BENCH_REPEATS", "3"))


@dataclass(frozen=True)
class Target:
    """A figure that must reach `least`, or stay below `most`."""

    name: str
    measured: float
    least: float | None = None
    most: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure is within its bounds."""
        return (self.least is None or self.measured >= self.least) and (self.most is None or self.measured < self.most)

    def __str__(self) -> str:
        """Return one line."""
        bound = f">= {self.least:g}" if self.least is not None else f"< {self.most:g}"
        verdict = "met" if self.met else "NOT MET"
        return (
            f"target {bound + self.unit:>10}   measured {self.measured:8.2f}{self.unit:3}   {verdict:7}   {self.name}"
        )

    def row(self) -> dict[str, object]:
        """Return the entry for the file of figures."""
        return asdict(self) | {"met": self.met}
