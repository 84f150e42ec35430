"""Objects that came again under a known SOP Instance UID: what differs, and what follows from it."""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, select, update

from node.ledger.database import Database
from node.ledger.identity_digests import IdentityDigests
from node.ledger.instance_statements import InstanceStatements
from node.ledger.instances import NO_REVISION, Instances, header_of
from node.ledger.revisions import may_start_again, takes_more
from node.ledger.tables import instances, jobs, series
from node.records.instances import Arrival
from node.records.states import JobState


@dataclass(frozen=True)
class Known:
    """The object in use when another one came under its UID. key: of its file.

    same_header, same_identity: what the later one shares with it.
    """

    key: str
    transfer_syntax: str
    same_header: bool
    same_identity: bool


class Resends:
    """Compares later objects with those in use, and opens a revision for those of another patient."""

    def __init__(self, database: Database, recorded: Instances) -> None:
        self._db = database
        self._recorded = recorded
        self._digests = IdentityDigests(database.data)

    def known(self, arrival: Arrival) -> Known | None:
        """Return the object that is in use under the UID of an arrival recorded as a variant; None if there is none."""
        with self._db.read() as connection:
            row = self._in_use(connection, arrival)
        if row is None:
            return None
        first = header_of(row.header)
        later = replace(arrival.header, identity=self._digests.of(arrival.header.identity))
        unread = not (first.identity and later.identity)
        return Known(
            key=row.path,
            transfer_syntax=row.transfer_syntax,
            same_header=replace(first, identity=()) == replace(later, identity=()),
            same_identity=unread or first.identity == later.identity,
        )

    def unused(self, arrival: Arrival) -> str | None:
        """Return the key of the object recorded with the UID and content of a duplicate, if no revision uses it.

        It came as a variant before, and the node may have ended before it was settled what that means.
        """
        same = (instances.c.sha256 == arrival.sha256) & (instances.c.revision == NO_REVISION)
        wanted = select(instances.c.path).join(series).where(_under_uid_of(arrival) & same).limit(1)
        with self._db.read() as connection:
            found: str | None = connection.execute(wanted).scalar()
            return found

    def forget(self, arrival: Arrival) -> None:
        """Count a variant as a duplicate, and remove its row: its content is that of the object in use."""
        self.count_duplicate(arrival, and_forget=True)

    def count_duplicate(self, arrival: Arrival, *, and_forget: bool = False) -> None:
        """Count a variant as a duplicate."""
        header = arrival.header
        with self._db.write() as connection:
            if and_forget:
                connection.execute(delete(instances).where(instances.c.path == arrival.key))
            found = InstanceStatements(connection).newest_job(header.study_uid, header.series_uid)
            if found is not None and found.id is not None:
                InstanceStatements(connection).count_duplicates(found.id, 1)

    def correct(self, arrival: Arrival) -> bool:
        """Use a variant of another patient in a new revision, which a person must release; tell whether it was opened.

        While a series still arrives for the first time, nothing changes: it holds two patients then.
        """
        header = arrival.header
        with self._db.write() as connection:
            statements = InstanceStatements(connection)
            found = statements.newest_job(header.study_uid, header.series_uid)
            if found is None or found.id is None:
                return False
            if may_start_again(found) and found.state != JobState.FAILED:
                return False  # nothing was delivered; once all objects have come again, they are used
            if takes_more(found):
                if not connection.execute(select(jobs.c.corrected).where(jobs.c.id == found.id)).scalar():
                    return False
                revision, job_id = found.revision or 1, found.id
                statements.count_new(job_id, 0, self._db.now())
            else:
                sentence = "objects of the series came again for another patient"
                revision = (found.revision or 0) + 1
                job_id = self._recorded.revisions.open(connection, found, arrival, sentence)
            mine = instances.c.path == arrival.key
            connection.execute(update(instances).where(mine).values(revision=revision))
            more = {"corrected": jobs.c.corrected + 1}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(more))
            return True

    @staticmethod
    def _in_use(connection: Connection, arrival: Arrival) -> Row[Any] | None:
        wanted = (
            select(*instances.c["path", "transfer_syntax", "header"])
            .join(series)
            .where(_under_uid_of(arrival) & (instances.c.path != arrival.key))
            .order_by(instances.c.revision.desc(), instances.c.variant)
            .limit(1)
        )
        return connection.execute(wanted).first()


def _under_uid_of(arrival: Arrival) -> ColumnElement[bool]:
    """Return the condition that an instance, joined with its series, has the UIDs of an arrival."""
    header = arrival.header
    own = (series.c.study_uid == header.study_uid) & (series.c.series_uid == header.series_uid)
    return own & (instances.c.sop_uid == header.sop_uid)
