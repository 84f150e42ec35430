"""What is sent of each study, in which manner, and what must become of it: pure and drawn from a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

SLICES = (30, 34)  # of 3 mm: long enough for a hip
RARE = 2  # slices that are doubled, broken or come late


class Manner(StrEnum):
    """How a study is sent, or what it is."""

    GOOD = "one association"
    SHUFFLED = "shuffled"
    SEQUENTIAL = "several associations, one after another"
    PARALLEL = "several associations at once"
    SINGLE = "one association per image"
    DOUBLED = "whole study twice at once"
    REPEATED = "single slices twice"
    STALLED = "stalled in the middle"
    RESUMED = "aborted and resumed later"
    COUNTED = "count announced, long pause between associations"
    FILLED = "gap filled after it was held"
    GAP = "gap never filled"
    LATE = "late slice after the result"
    VARIANT = "same UID, other pixels"
    COMPANIONS = "with localiser and dose report"
    BROKEN = "broken objects in between"
    FOREIGN = "not CT"
    SHORT = "too short"
    LOCALISER = "localiser alone"


REAL_MANNERS = (
    Manner.GOOD,
    Manner.SHUFFLED,
    Manner.PARALLEL,
    Manner.DOUBLED,
    Manner.STALLED,
    Manner.RESUMED,
    Manner.LATE,
    Manner.VARIANT,
    Manner.GAP,
    Manner.REPEATED,
)


class Kind(StrEnum):
    """What a series is."""

    SCAN = "scan"
    COUNTED_SCAN = "scan that says how many images it has"
    LOCALISER = "localiser"
    DOSE = "dose report"
    MAGNETIC = "magnetic resonance"


class Form(StrEnum):
    """Which version of an object is sent."""

    TRUE = "true"
    VARIANT = "variant"  # the same UID, other pixels
    BROKEN = "broken"  # a UID of its own, pixel data cut off


class Fate(StrEnum):
    """What must become of a series; all but DELIVERED are the node's reason codes."""

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
    form: Form = Form.TRUE


@dataclass(frozen=True)
class Carry:
    """One association: what it carries in which order, where it pauses (s), and whether it ends in an abort."""

    items: tuple[Item, ...]
    stall_after: int | None = None
    stall: float = 0.0
    abort: bool = False


@dataclass(frozen=True)
class Step:
    """Associations at the same time; before them a pause (s), or the wait for a result at the PACS."""

    carries: tuple[Carry, ...]
    pause: float = 0.0
    after_result: bool = False


@dataclass(frozen=True)
class Series:
    """One series: what it is, of how many objects, and its fate."""

    kind: Kind
    length: int
    fate: Fate


@dataclass(frozen=True)
class Timing:
    """The node's patience, which the manners play with; seconds."""

    quiet: float = 1.5
    give_up: float = 10.0

    @property
    def long_pause(self) -> float:
        """Longer than the quiet time, shorter than the node waits for a series that is not whole."""
        return min(self.quiet * 4, self.give_up * 0.7)


@dataclass(frozen=True)
class Plan:
    """One study. results: how many its scan has in the end if nothing interrupts the sending.

    patience: how long its sender may pause without the node taking what there is for all, s.
    """

    number: int
    manner: Manner
    series: tuple[Series, ...]
    steps: tuple[Step, ...]
    patience: float
    results: int = 1

    @property
    def items(self) -> frozenset[Item]:
        """Everything that is sent."""
        return frozenset(item for step in self.steps for carry in step.carries for item in carry.items)


def make_plans(count: int, seed: int, timing: Timing, manners: Sequence[Manner] = tuple(Manner)) -> list[Plan]:
    """Return so many studies; every manner comes before one comes again."""
    rng = random.Random(f"plans {seed}")
    deck: list[Manner] = []
    while len(deck) < count:
        deck += rng.sample(manners, len(manners))
    return [Planner(number, deck[number], f"{seed} {number}", timing).plan() for number in range(count)]


PATIENT = frozenset({Manner.COUNTED, Manner.STALLED, Manner.RESUMED})
"""Whose pauses the node must wait out: a number was announced, or what came is short and its sender not done."""


@dataclass
class Planner:
    """Draws one study."""

    number: int
    manner: Manner
    seed: str
    timing: Timing
    rng: random.Random = field(init=False)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"plan {self.seed}")
        self.length = self.rng.randint(*SLICES)

    def plan(self, length: int | None = None) -> Plan:
        """Return the plan; length: of the scan, where it is given."""
        self.length = length or self.length
        return Plan(
            self.number,
            self.manner,
            self._series(),
            self._steps(),
            patience=self.timing.give_up if self.manner in PATIENT else self.timing.quiet,
            results=2 if self.manner is Manner.LATE else 1,
        )

    def _series(self) -> tuple[Series, ...]:
        fate = Fate.GAP if self.manner is Manner.GAP else Fate.DELIVERED
        scan = Series(Kind.SCAN, self.length, fate)
        localiser = Series(Kind.LOCALISER, 2, Fate.LOCALISER)
        others = {
            Manner.COUNTED: (replace(scan, kind=Kind.COUNTED_SCAN),),
            Manner.COMPANIONS: (scan, localiser, Series(Kind.DOSE, 1, Fate.NOT_CT)),
            Manner.FOREIGN: (Series(Kind.MAGNETIC, 12, Fate.NOT_CT),),
            Manner.SHORT: (Series(Kind.SCAN, 3, Fate.TOO_SHORT),),
            Manner.LOCALISER: (localiser,),
        }
        return others.get(self.manner, (scan,))

    def _steps(self) -> tuple[Step, ...]:
        every = [Item(n, index) for n, series in enumerate(self._series()) for index in range(series.length)]
        match self.manner:
            case Manner.SEQUENTIAL:
                return tuple(Step((Carry(part),), self.rng.uniform(0, 0.2)) for part in self._split(every))
            case Manner.SINGLE:
                return tuple(Step((Carry((item,)),)) for item in every)
            case Manner.VARIANT | Manner.LATE | Manner.GAP | Manner.FILLED | Manner.RESUMED | Manner.COUNTED:
                return self._with_second_part(every)
        return (Step(self._carries(every)),)

    def _carries(self, every: list[Item]) -> tuple[Carry, ...]:
        """Return the associations of a study that is sent in one go."""
        shuffled = self._shuffled(every)
        match self.manner:
            case Manner.PARALLEL:
                return tuple(Carry(part) for part in self._split(shuffled))
            case Manner.DOUBLED:
                return Carry(tuple(every)), Carry(shuffled)
            case Manner.REPEATED:
                return (Carry((*shuffled, *self.rng.sample(every, RARE))),)
            case Manner.STALLED:
                return (Carry(tuple(every), self._middle(), self.timing.long_pause),)
            case Manner.BROKEN:
                broken = [Item(0, index, Form.BROKEN) for index in range(RARE)]
                return (Carry(self._shuffled(every + broken)),)
        return (Carry(shuffled if self.manner in {Manner.SHUFFLED, Manner.COMPANIONS} else tuple(every)),)

    def _with_second_part(self, every: list[Item]) -> tuple[Step, ...]:
        middle = self._middle()
        after_result, pause = False, 0.0
        match self.manner:
            case Manner.VARIANT:
                first = every
                second = [Item(0, item.index, Form.VARIANT) for item in self.rng.sample(every, RARE)]
                after_result = self.rng.random() < 0.5
            case Manner.LATE:
                first, second, after_result = every[:-RARE], every[-RARE:], True
            case Manner.COUNTED:
                first, second, pause = every[:middle], every[middle:], self.timing.long_pause
            case Manner.RESUMED:
                again = self.rng.random() < 0.5  # the whole study, or only what was not sent yet
                rest = Step((Carry(tuple(every if again else every[middle:])),), self.timing.long_pause)
                return Step((Carry(tuple(every[:middle]), abort=True),)), rest
            case _:
                first, second = every[:middle] + every[middle + RARE :], every[middle : middle + RARE]
                pause = self.timing.give_up + 2 * self.timing.quiet
        start = Step((Carry(tuple(first)),))
        return (start,) if self.manner is Manner.GAP else (start, Step((Carry(tuple(second)),), pause, after_result))

    def _middle(self) -> int:
        """Return a place so far inside that both parts would pass for a scan of their own."""
        return self.rng.randint(self.length // 3, self.length * 2 // 3)

    def _shuffled(self, items: Sequence[Item]) -> tuple[Item, ...]:
        return tuple(self.rng.sample(items, len(items)))

    def _split(self, items: Sequence[Item]) -> list[tuple[Item, ...]]:
        parts = self.rng.randint(2, 4)
        size = -(-len(items) // parts)
        return [tuple(items[start : start + size]) for start in range(0, len(items), size)]
