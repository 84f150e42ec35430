"""Retention: which series' files may be removed, and their removal, which a crash may interrupt at any point."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from node.files.inbox_names import INBOX
from node.files.results import RESULTS
from node.files.store import FileStore
from node.ledger import Ledger
from node.ledger.outbox import OPEN
from node.records.retention import KeptRevision, KeptSeries
from node.records.states import DeliveryState, JobState, Reason
from node.settings.sections import Retention

EVERY = timedelta(minutes=1)
AT_ONCE = 20  # series per tick, so that the supervisor has time for urgent work
PER_QUERY = 200  # series per query to the ledger
LONGEST_DAYS = 36500.0
DAY = timedelta(days=1)
ROOTS = frozenset({INBOX, RESULTS})
"""The folders under `data` in which files may be removed."""

SENT = frozenset({JobState.DELIVERED, JobState.COMMITTED})
IRRELEVANT = frozenset({JobState.CANCELLED, JobState.DECLINED})
"""States of an earlier revision that do not keep its files: the newest revision has all of them and decides."""

log = logging.getLogger(__name__)


def expired(kept: Iterable[KeptSeries], now: datetime, rules: Retention) -> list[KeptSeries]:
    """Return the series whose files may be removed, the one finished longest ago first.

    Files stay of a series that is pending, held, failed or cancelled by a person, whose results were sent to nobody, or
    that an open association has sent objects of. A failed earlier revision keeps the files until a person cancels it.
    """
    due = [(since, series) for series in kept if (since := _since(series, now, rules)) is not None]
    return [series for _, series in sorted(due, key=lambda pair: pair[0])]


def _since(series: KeptSeries, now: datetime, rules: Retention) -> datetime | None:
    """Return when the series was finished if that is long enough ago, None if its files must stay."""
    *earlier, newest = series.revisions
    still_sending = any(sending.state in OPEN for revision in series.revisions for sending in revision.sent)
    if series.receiving or still_sending:
        return None
    relevant = [*(revision for revision in earlier if revision.state not in IRRELEVANT), newest]
    if not all(_is_over(revision, now, rules) for revision in relevant):
        return None
    return _ended(newest)


def _is_over(revision: KeptRevision, now: datetime, rules: Retention) -> bool:
    days = rules.declined_days if revision.state is JobState.DECLINED else rules.delivered_days
    ended = _ended(revision)
    return ended is not None and days > 0 and (now - ended) / DAY >= days


def _ended(revision: KeptRevision) -> datetime | None:
    """Return when the last destination got the last result or the series was declined, None if neither happened."""
    if revision.state is JobState.DECLINED:
        return revision.finished_at
    if revision.state not in SENT or revision.code == Reason.NO_DESTINATION:
        return None
    times = [sending.at for sending in revision.sent if sending.state is DeliveryState.DELIVERED and sending.at]
    reached = {sending.peer for sending in revision.sent} >= set(revision.destinations)
    return max(times) if times and len(times) == len(revision.sent) and reached else None


class RetentionStage:
    """Removes expired files, at most once a minute and a few series at a time."""

    def __init__(self, ledger: Ledger, rules: Retention) -> None:
        self._ledger = ledger
        self._rules = rules
        self._store = FileStore(ledger.data)
        self._last: datetime | None = None

    def tick(self) -> None:
        """Remove what has expired. Raises LedgerError; a file that cannot be removed is logged and tried again."""
        now = self._ledger.now()
        if self._last is not None and self._last <= now < self._last + EVERY:
            return
        self._last = now
        series = sum(self._mark_removed(kept, now) for kept in self._expired(now))
        files = self._remove_files()  # even if no series is due: a crash may have left some
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
            some, series_ids = series_ids[:PER_QUERY], series_ids[PER_QUERY:]
            found += expired(self._ledger.retention.kept_series(some), now, self._rules)
        return found[:AT_ONCE]

    def _mark_removed(self, kept: KeptSeries, now: datetime) -> bool:
        newest = kept.revisions[-1]
        ended = _ended(newest)
        assert ended is not None, "it would not have expired"
        days = (now - ended).days
        after = "it was declined" if newest.state is JobState.DECLINED else "delivery"
        return self._ledger.retention.remove_series(
            kept, f"its files were removed {days} day{'s' * (days != 1)} after {after}"
        )

    def _remove_files(self) -> int:
        """Remove the files whose rows are removed, and folders that become empty; return how many were handled."""
        by_folder: dict[str, list[str]] = defaultdict(list)
        for key in self._ledger.retention.pending_removals():
            by_folder[str(PurePosixPath(key).parent)].append(key)
        handled = 0
        for folder, keys in by_folder.items():
            if not _is_ours(folder):
                log.error("%d files in %s are not removed: it is not a folder of inbox or results", len(keys), folder)
            elif not self._removed(folder, keys):
                continue
            self._ledger.retention.note_removed(keys)
            handled += len(keys)
        return handled

    def _removed(self, folder: str, keys: list[str]) -> bool:
        """Remove files durably: one that is back after a power cut would be adopted as new. False if that failed."""
        try:
            self._store.remove_durably(folder, keys)
        except OSError as error:
            log.error("files in %s cannot be removed and will be tried again: %s", folder, error.strerror)
            return False
        return True


def _is_ours(folder: str) -> bool:
    parts = PurePosixPath(folder).parts
    return not folder.startswith("/") and ".." not in parts and bool(parts) and parts[0] in ROOTS
