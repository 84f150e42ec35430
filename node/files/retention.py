"""Retention: which series' files may go, and the supervisor's arm that removes them so that a crash does no harm."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from node.files.durable import remove_empty, sync_folder
from node.ledger import Ledger
from node.ledger.outbox import OPEN
from node.records.retention import KeptRevision, KeptSeries
from node.records.states import DeliveryState, JobState, Reason
from node.settings.sections import Retention

EVERY = timedelta(minutes=1)
AT_ONCE = 20  # series per tick, so that the supervisor has time for what is urgent
LOOKED_AT = 200  # series per question to the ledger
LONGEST_DAYS = 36500.0
DAY = timedelta(days=1)
ROOTS = ("inbox", "results")
"""The folders under `data` in which files may be removed."""

SENT = frozenset({JobState.DELIVERED, JobState.COMMITTED})
WITHOUT_WORTH = frozenset({JobState.CANCELLED, JobState.DECLINED})
"""States of an earlier revision that do not keep its files: the newest revision has them all and decides."""

log = logging.getLogger(__name__)


def expired(kept: Iterable[KeptSeries], now: datetime, rules: Retention) -> list[KeptSeries]:
    """Return the series whose files may go, the longest finished first.

    What is pending, held, failed or cancelled by a person stays, as do results that went nowhere else, and whatever an
    association that stands has carried. An earlier revision that failed keeps the files until a person cancels it.
    """
    due = [(since, series) for series in kept if (since := _since(series, now, rules)) is not None]
    return [series for _, series in sorted(due, key=lambda pair: pair[0])]


def _since(series: KeptSeries, now: datetime, rules: Retention) -> datetime | None:
    """Return when the series was done with if that is long enough ago, None if its files must stay."""
    *earlier, newest = series.revisions
    still_sending = any(sending.state in OPEN for revision in series.revisions for sending in revision.sent)
    if series.standing or still_sending:
        return None
    matter = [*(revision for revision in earlier if revision.state not in WITHOUT_WORTH), newest]
    if not all(_is_over(revision, now, rules) for revision in matter):
        return None
    return _ended(newest)


def _is_over(revision: KeptRevision, now: datetime, rules: Retention) -> bool:
    days = rules.declined_days if revision.state is JobState.DECLINED else rules.delivered_days
    ended = _ended(revision)
    return ended is not None and days > 0 and (now - ended) / DAY >= days


def _ended(revision: KeptRevision) -> datetime | None:
    """Return when the last destination got the last result, or the series was declined; None if neither is so."""
    if revision.state is JobState.DECLINED:
        return revision.finished_at
    if revision.state not in SENT or revision.code == Reason.NO_DESTINATION:
        return None
    times = [sending.at for sending in revision.sent if sending.state is DeliveryState.DELIVERED and sending.at]
    reached = {sending.peer for sending in revision.sent} >= set(revision.destinations)
    return max(times) if times and len(times) == len(revision.sent) and reached else None


class RetentionStage:
    """Removes what has expired, at most once a minute and a few series at a time."""

    def __init__(self, ledger: Ledger, rules: Retention) -> None:
        self._ledger = ledger
        self._rules = rules
        self._last: datetime | None = None

    def tick(self) -> None:
        """Do what is due. Raises LedgerError; a file that cannot be removed is logged and tried again."""
        now = self._ledger.now()
        if self._last is not None and self._last <= now < self._last + EVERY:
            return
        self._last = now
        series = sum(self._strike_off(kept, now) for kept in self._expired(now))
        # Always, for a crash may have left some.
        files = remove_files(self._ledger)
        if series or files:
            log.info("retention: %d series were due, %d files are removed", series, files)

    def _expired(self, now: datetime) -> list[KeptSeries]:
        chosen = ((self._rules.delivered_days, SENT), (self._rules.declined_days, {JobState.DECLINED}))
        series_ids: list[int] = []
        for days, states in chosen:
            if days > 0:
                before = now - timedelta(days=min(days, LONGEST_DAYS))
                series_ids += self._ledger.retention.finished_series(states, before)
        found: list[KeptSeries] = []
        while series_ids and len(found) < AT_ONCE:
            some, series_ids = series_ids[:LOOKED_AT], series_ids[LOOKED_AT:]
            found += expired(self._ledger.retention.kept_series(some), now, self._rules)
        return found[:AT_ONCE]

    def _strike_off(self, kept: KeptSeries, now: datetime) -> bool:
        newest = kept.revisions[-1]
        ended = _ended(newest)
        assert ended is not None, "it would not have expired"
        days = (now - ended).days
        after = "it was declined" if newest.state is JobState.DECLINED else "delivery"
        return self._ledger.retention.remove_series(
            kept, f"its files were removed {days} day{'s' * (days != 1)} after {after}"
        )


def remove_files(ledger: Ledger) -> int:
    """Remove the files the ledger has struck off, and folders that become empty; return how many paths were settled."""
    by_folder: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path in ledger.retention.pending_removals():
        by_folder[PurePosixPath(path).parent].append(path)
    settled = 0
    for folder, paths in by_folder.items():
        if not _is_ours(folder):
            log.error(
                "%d files in %s are not removed: that is no folder of the inbox or the results", len(paths), folder
            )
        elif _unlink(ledger.data / folder, paths):
            remove_empty(ledger.data / folder, ledger.data / folder.parts[0])
        else:
            continue
        ledger.retention.note_removed(paths)
        settled += len(paths)
    return settled


def _is_ours(folder: PurePosixPath) -> bool:
    return not folder.is_absolute() and ".." not in folder.parts and folder.parts[:1] in {(root,) for root in ROOTS}


def _unlink(folder: Path, paths: Sequence[str]) -> bool:
    """Remove files of one folder so that they stay removed; False if that failed."""
    try:
        for path in paths:
            (folder / PurePosixPath(path).name).unlink(missing_ok=True)
        sync_folder(folder)  # a file that comes back after a power cut would be taken for one that has just arrived
    except OSError as error:
        log.error("files in %s cannot be removed, it will be tried again: %s", folder, error.strerror)
        return False
    return True
