"""Senders that behave like a scanner's queue: they resend each object until it is acknowledged."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, pairwise

from e2e.crash.studies import Sent, Study
from e2e.crash.study_plan import Item, PlannedAssociation, Step
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association

_config.STORE_SEND_CHUNKED_DATASET = True  # files are sent as they are

RETRY_SECONDS = 0.4
LOOK_SECONDS = 0.4  # until a study that waits for a result asks again
SHORT_SECONDS = 0.3  # during a pause this short a thread waits and keeps its study
TIMEOUT_SECONDS = 30.0
NODE_TITLE = "QCTNODE"
TITLES = 5  # AE titles the senders share
OUT_OF_RESOURCES = range(0xA700, 0xA800)  # PS3.4 B.2.3
OWN_FAULT = 0xC002  # the node asks to try again


@dataclass(frozen=True)
class Answer:
    """The response to one object; status None: the association was lost before a response."""

    at: float
    item: Item
    association_number: int
    status: int | None

    @property
    def acknowledged(self) -> bool:
        """Whether the sender need not send the object again: success or a warning (PS3.4 B.2.3)."""
        return self.status is not None and (self.status == 0 or self.status >> 12 == 0xB)

    @property
    def refused(self) -> bool:
        """Whether sending the object again would not help."""
        return not self.acknowledged and not self.again

    @property
    def again(self) -> bool:
        """Whether the object must be sent again."""
        return self.status is None or self.status in OUT_OF_RESOURCES or self.status == OWN_FAULT


@dataclass(frozen=True)
class EndedAssociation:
    """One association that has ended; clean: as the sender intended."""

    number: int
    clean: bool


@dataclass
class SendLog:
    """What the senders of one study recorded; times of the monotonic clock, s."""

    answers: list[Answer] = field(default_factory=list)
    associations: list[EndedAssociation] = field(default_factory=list)
    unreachable: int = 0  # association requests without success

    @property
    def acknowledged(self) -> set[Item]:
        """All objects the node has acknowledged."""
        return {answer.item for answer in self.answers if answer.acknowledged}

    def interrupted(self, patience: float, series: int = 0) -> bool:
        """Tell whether the node may have decided on a part of the series: an association was lost, or no object of the
        series came for longer than `patience` seconds.
        """
        own = [answer for answer in self.answers if answer.item.series == series]
        times = sorted(answer.at for answer in own if answer.acknowledged)
        paused = any(later - earlier > patience for earlier, later in pairwise(times))
        return paused or not all(association.clean for association in self.associations)


@dataclass
class Progress:
    """How far the sending of one study has got."""

    study: Study
    send_log: SendLog = field(default_factory=SendLog)
    done: int = 0

    @property
    def next_step(self) -> Step | None:
        """The next step, None at the end."""
        steps = self.study.plan.steps
        return steps[self.done] if self.done < len(steps) else None


class Senders:
    """Threads that send all studies, several at a time; a study that waits does not occupy a thread."""

    def __init__(self, port: int, has_result: Callable[[str], bool], seconds: float) -> None:
        self._port = port
        self._has_result = has_result
        self._deadline = time.monotonic() + seconds
        self._fresh: deque[Progress] = deque()
        self._begun: list[tuple[float, int, Progress]] = []  # a heap ordered by the time when each continues
        self._numbers = count()
        self._lock = threading.Lock()
        self._open = 0
        self.send_logs: dict[int, SendLog] = {}

    def send(self, studies: list[Study], threads: int) -> None:
        """Send all studies; return when every object is acknowledged or refused, or at the deadline."""
        self._open = len(studies)
        self._fresh.extend(map(Progress, studies))
        self.send_logs |= {progress.study.plan.number: progress.send_log for progress in self._fresh}
        running = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    def _work(self) -> None:
        while self._open and time.monotonic() < self._deadline:
            progress = self._take()
            if progress is None:
                time.sleep(SHORT_SECONDS)
                continue
            while (pause := self._advance(progress)) is not None and pause <= SHORT_SECONDS:
                time.sleep(pause)
            with self._lock:
                if pause is None:
                    self._open -= 1
                else:
                    heappush(self._begun, (time.monotonic() + pause, next(self._numbers), progress))

    def _take(self) -> Progress | None:
        """Return a study that is due; those already begun come before new ones."""
        with self._lock:
            if self._begun and self._begun[0][0] <= time.monotonic():
                return heappop(self._begun)[2]
            return self._fresh.popleft() if self._fresh else None

    def _advance(self, progress: Progress) -> float | None:
        """Send the next step; return how long to wait before the one after it, None when all is sent."""
        step = progress.next_step
        assert step is not None
        if step.after_result and not self._has_result(progress.study.uid):
            return LOOK_SECONDS
        parallel = [
            threading.Thread(target=self._send_planned, args=(progress, planned), daemon=True)
            for planned in step.associations[1:]
        ]
        for thread in parallel:
            thread.start()
        self._send_planned(progress, step.associations[0])
        for thread in parallel:
            thread.join()
        progress.done += 1
        return None if progress.next_step is None else progress.next_step.pause

    def _send_planned(self, progress: Progress, planned: PlannedAssociation) -> None:
        """Send the objects of a planned association, over as many associations as that takes."""
        left = list(planned.items)
        stall_at = planned.stall_after
        while left and time.monotonic() < self._deadline:
            sent = len(planned.items) - len(left)
            pause = (stall_at - sent, planned.stall) if stall_at is not None and stall_at >= sent else None
            left = self._associate(progress, left, pause, planned.abort)
            if left:
                time.sleep(RETRY_SECONDS)

    def _associate(
        self, progress: Progress, items: list[Item], pause: tuple[int, float] | None, abort: bool
    ) -> list[Item]:
        """Send objects over one association; return those that must be sent again."""
        objects = progress.study.objects
        ae = AE(ae_title=f"CT{progress.study.plan.number % TITLES}")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT_SECONDS
        kinds = dict.fromkeys((objects[item].sop_class_uid, objects[item].transfer_syntax) for item in items)
        contexts = [build_context(*kind) for kind in kinds]
        try:
            association = ae.associate("127.0.0.1", self._port, contexts=contexts, ae_title=NODE_TITLE, max_pdu=0)
        except OSError:
            progress.send_log.unreachable += 1
            return items
        if not association.is_established:
            progress.send_log.unreachable += 1
            return items
        with self._lock:
            association_number = next(self._numbers)
        again, lost = [], False
        for place, item in enumerate(items):
            if pause is not None and place == pause[0]:
                time.sleep(pause[1])
            status = _store(association, objects[item])
            answer = Answer(time.monotonic(), item, association_number, status)
            progress.send_log.answers.append(answer)
            if status is None:
                again, lost = again + items[place:], True
                break
            if answer.again:
                again.append(item)
        clean = association.is_established and not lost
        if association.is_established:
            association.release() if clean and not abort else association.abort()
        progress.send_log.associations.append(EndedAssociation(association_number, clean))
        return again


def _store(association: Association, sent: Sent) -> int | None:
    if not association.is_established:
        return None
    try:
        answer = association.send_c_store(sent.path)
    except (RuntimeError, OSError):  # the association was lost in the meantime
        return None
    return int(answer.Status) if "Status" in answer else None
