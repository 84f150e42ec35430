"""What is sent of each study, in which scenario, and the expected end: pure, drawn from a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

SLICES = (30, 34)  # of 3 mm: long enough for a hip
RARE = 2  # slices that are doubled, broken or come late


class Scenario(StrEnum):
    """How a study is sent, or what it is."""

    GOOD = "one association"
    SHUFFLED = "shuffled"
    SEQUENTIAL = "several associations, one after another"
    PARALLEL = "several associations at once"
    SINGLE = "one association per image"
    DOUBLED = "whole study twice at once"
    REPEATED = "some slices sent twice"
    STALLED = "paused in the middle"
    RESUMED = "aborted and resumed later"
    COUNTED = "number of images announced, long pause between associations"
    FILLED = "gap filled after the job was held"
    GAP = "gap never filled"
    LATE = "slices sent after the result"
    VARIANT = "same UID, other pixels"
    COMPANIONS = "with localiser and dose report"
    BROKEN = "broken objects in between"
    FOREIGN = "not CT"
    SHORT = "too few slices"
    LOCALISER = "localiser only"


REAL_SCENARIOS = (
    Scenario.GOOD,
    Scenario.SHUFFLED,
    Scenario.PARALLEL,
    Scenario.DOUBLED,
    Scenario.STALLED,
    Scenario.RESUMED,
    Scenario.LATE,
    Scenario.VARIANT,
    Scenario.GAP,
    Scenario.REPEATED,
)


class Kind(StrEnum):
    """What a series is."""

    SCAN = "scan"
    COUNTED_SCAN = "scan that announces its number of images"
    LOCALISER = "localiser"
    DOSE = "dose report"
    MAGNETIC = "magnetic resonance"


class Version(StrEnum):
    """Which version of an object is sent."""

    ORIGINAL = "original"
    VARIANT = "variant"  # the same UID, other pixels
    BROKEN = "broken"  # a UID of its own, pixel data cut off


class Expected(StrEnum):
    """The expected end of a series; all but DELIVERED are the node's reason codes."""

    DELIVERED = "delivered"
    GAP = "gap"
    NOT_CT = "not-ct"
    LOCALISER = "localiser"
    TOO_SHORT = "too-short"


@dataclass(frozen=True, order=True)
class Item:
    """One object of a study; index: its place in the stack."""

    series: int
    index: int
    version: Version = Version.ORIGINAL


@dataclass(frozen=True)
class PlannedAssociation:
    """One association: its objects in their order, where it pauses (s), and whether it ends in an abort."""

    items: tuple[Item, ...]
    stall_after: int | None = None
    stall: float = 0.0
    abort: bool = False


@dataclass(frozen=True)
class Step:
    """Associations opened at the same time, after a pause (s) or when a result has reached the PACS."""

    associations: tuple[PlannedAssociation, ...]
    pause: float = 0.0
    after_result: bool = False


@dataclass(frozen=True)
class Series:
    """One series: its kind, its number of objects and its expected end."""

    kind: Kind
    length: int
    expected: Expected


@dataclass(frozen=True)
class Timing:
    """How long the node waits for more objects, s; the scenarios pause for longer and for shorter."""

    quiet: float = 1.5
    give_up: float = 10.0

    @property
    def long_pause(self) -> float:
        """Longer than the quiet time, shorter than the node waits for an incomplete series."""
        return min(self.quiet * 4, self.give_up * 0.7)


@dataclass(frozen=True)
class StudyPlan:
    """One study. results: how many its scan has at the end if nothing interrupts the sending.

    patience: how long its sender may pause before the node decides on what has arrived, s.
    """

    number: int
    scenario: Scenario
    series: tuple[Series, ...]
    steps: tuple[Step, ...]
    patience: float
    results: int = 1

    @property
    def items(self) -> frozenset[Item]:
        """Everything that is sent."""
        return frozenset(item for step in self.steps for planned in step.associations for item in planned.items)


def make_plans(
    count: int, seed: int, timing: Timing, scenarios: Sequence[Scenario] = tuple(Scenario)
) -> list[StudyPlan]:
    """Return `count` studies; every scenario occurs before one occurs again."""
    rng = random.Random(f"plans {seed}")
    scenario_order: list[Scenario] = []
    while len(scenario_order) < count:
        scenario_order += rng.sample(scenarios, len(scenarios))
    return [StudyPlanner(number, scenario_order[number], f"{seed} {number}", timing).plan() for number in range(count)]


WAITED_FOR = frozenset({Scenario.COUNTED, Scenario.STALLED, Scenario.RESUMED})
"""Scenarios whose pauses the node must wait for: the number of images was announced, or the series is still short."""


@dataclass
class StudyPlanner:
    """Draws the plan of one study."""

    number: int
    scenario: Scenario
    seed: str
    timing: Timing
    rng: random.Random = field(init=False)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"plan {self.seed}")
        self.length = self.rng.randint(*SLICES)

    def plan(self, length: int | None = None) -> StudyPlan:
        """Return the plan; length: number of slices of the scan, drawn if None."""
        self.length = length or self.length
        return StudyPlan(
            self.number,
            self.scenario,
            self._series(),
            self._steps(),
            patience=self.timing.give_up if self.scenario in WAITED_FOR else self.timing.quiet,
            results=2 if self.scenario is Scenario.LATE else 1,
        )

    def _series(self) -> tuple[Series, ...]:
        expected = Expected.GAP if self.scenario is Scenario.GAP else Expected.DELIVERED
        scan = Series(Kind.SCAN, self.length, expected)
        localiser = Series(Kind.LOCALISER, 2, Expected.LOCALISER)
        others = {
            Scenario.COUNTED: (replace(scan, kind=Kind.COUNTED_SCAN),),
            Scenario.COMPANIONS: (scan, localiser, Series(Kind.DOSE, 1, Expected.NOT_CT)),
            Scenario.FOREIGN: (Series(Kind.MAGNETIC, 12, Expected.NOT_CT),),
            Scenario.SHORT: (Series(Kind.SCAN, 3, Expected.TOO_SHORT),),
            Scenario.LOCALISER: (localiser,),
        }
        return others.get(self.scenario, (scan,))

    def _steps(self) -> tuple[Step, ...]:
        every = [Item(n, index) for n, series in enumerate(self._series()) for index in range(series.length)]
        match self.scenario:
            case Scenario.SEQUENTIAL:
                return tuple(Step((PlannedAssociation(part),), self.rng.uniform(0, 0.2)) for part in self._split(every))
            case Scenario.SINGLE:
                return tuple(Step((PlannedAssociation((item,)),)) for item in every)
            case (
                Scenario.VARIANT | Scenario.LATE | Scenario.GAP | Scenario.FILLED | Scenario.RESUMED | Scenario.COUNTED
            ):
                return self._with_second_part(every)
        return (Step(self._associations(every)),)

    def _associations(self, every: list[Item]) -> tuple[PlannedAssociation, ...]:
        """Return the associations of a study that is sent without a pause between them."""
        shuffled = self._shuffled(every)
        match self.scenario:
            case Scenario.PARALLEL:
                return tuple(PlannedAssociation(part) for part in self._split(shuffled))
            case Scenario.DOUBLED:
                return PlannedAssociation(tuple(every)), PlannedAssociation(shuffled)
            case Scenario.REPEATED:
                return (PlannedAssociation((*shuffled, *self.rng.sample(every, RARE))),)
            case Scenario.STALLED:
                return (PlannedAssociation(tuple(every), self._middle(), self.timing.long_pause),)
            case Scenario.BROKEN:
                broken = [Item(0, index, Version.BROKEN) for index in range(RARE)]
                return (PlannedAssociation(self._shuffled(every + broken)),)
        return (
            PlannedAssociation(shuffled if self.scenario in {Scenario.SHUFFLED, Scenario.COMPANIONS} else tuple(every)),
        )

    def _with_second_part(self, every: list[Item]) -> tuple[Step, ...]:
        middle = self._middle()
        after_result, pause = False, 0.0
        match self.scenario:
            case Scenario.VARIANT:
                first = every
                second = [Item(0, item.index, Version.VARIANT) for item in self.rng.sample(every, RARE)]
                after_result = self.rng.random() < 0.5
            case Scenario.LATE:
                first, second, after_result = every[:-RARE], every[-RARE:], True
            case Scenario.COUNTED:
                first, second, pause = every[:middle], every[middle:], self.timing.long_pause
            case Scenario.RESUMED:
                again = self.rng.random() < 0.5  # the whole study, or only what was not sent yet
                rest = Step((PlannedAssociation(tuple(every if again else every[middle:])),), self.timing.long_pause)
                return Step((PlannedAssociation(tuple(every[:middle]), abort=True),)), rest
            case _:
                first, second = every[:middle] + every[middle + RARE :], every[middle : middle + RARE]
                pause = self.timing.give_up + 2 * self.timing.quiet
        start = Step((PlannedAssociation(tuple(first)),))
        return (
            (start,)
            if self.scenario is Scenario.GAP
            else (start, Step((PlannedAssociation(tuple(second)),), pause, after_result))
        )

    def _middle(self) -> int:
        """Return a place at which to split the scan so that each part is long enough for a scan."""
        return self.rng.randint(self.length // 3, self.length * 2 // 3)

    def _shuffled(self, items: Sequence[Item]) -> tuple[Item, ...]:
        return tuple(self.rng.sample(items, len(items)))

    def _split(self, items: Sequence[Item]) -> list[tuple[Item, ...]]:
        parts = self.rng.randint(2, 4)
        size = -(-len(items) // parts)
        return [tuple(items[start : start + size]) for start in range(0, len(items), size)]
