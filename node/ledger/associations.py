"""Associations that carried objects: which are open, how they ended, which series they carried."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, select, update

from node.ledger.database import Database
from node.ledger.tables import associations, carried
from node.ledger.upsert import insert_if_new
from node.records.instances import Association, Ending

IS_CARRIED = select(carried).where(
    carried.c.association_id == bindparam("association_id"), carried.c.series_id == bindparam("series_id")
)
FORGET_AT_ONCE = 500


class Associations:
    """Records associations from their first object to their end."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._links: set[tuple[str, int]] = set()  # associations and series known to be linked: no need to ask again

    def note_carried(self, connection: Connection, association: Association, series_id: int) -> bool:
        """Record that an association carries a series; tell whether that is new.

        With its first series the association itself is recorded.
        """
        if (association.id, series_id) in self._links:
            return False
        link = {"association_id": association.id, "series_id": series_id}
        if connection.execute(IS_CARRIED, link).first() is not None:
            return False
        insert_if_new(connection, associations, vars(association) | {"ending": ""})
        insert_if_new(connection, carried, link)
        return True

    def remember(self, links: set[tuple[str, int]]) -> None:
        """Remember pairs of association and series whose link is committed."""
        self._links |= links

    def end(self, association_id: str, ending: Ending) -> None:
        """Record the end of an association. One that carried no object is not recorded, and nothing happens."""
        still_open = (associations.c.id == association_id) & associations.c.ended_at.is_(None)
        with self._db.write() as connection:
            connection.execute(update(associations).where(still_open).values(ended_at=self._db.now(), ending=ending))
        links = tuple(self._links)  # a copy, made at once: other threads add to the set meanwhile
        self._links.difference_update(link for link in links if link[0] == association_id)

    def end_lost(self, receivers: Collection[str]) -> int:
        """End the associations of receivers that have died; receivers: the names of those that are alive.

        Returns how many there were.
        """
        lost = associations.c.ended_at.is_(None) & associations.c.receiver.not_in(receivers)
        with self._db.read() as connection:
            if connection.execute(select(associations.c.id).where(lost).limit(1)).first() is None:
                return 0
        with self._db.write() as connection:
            values = {"ended_at": self._db.now(), "ending": Ending.LOST}
            return connection.execute(update(associations).where(lost).values(values)).rowcount

    def forget(self, ended_before: datetime) -> None:
        """Remove the associations that ended before a time; their series have been decided by then."""
        old = select(associations.c.id).where(associations.c.ended_at < ended_before).limit(FORGET_AT_ONCE)
        with self._db.read() as connection:
            ids = list(connection.execute(old).scalars())
        if ids:
            with self._db.write() as connection:
                connection.execute(delete(carried).where(carried.c.association_id.in_(ids)))
                connection.execute(delete(associations).where(associations.c.id.in_(ids)))

    def count_open(self) -> int:
        """Return how many associations that carried objects are open."""
        wanted = select(func.count()).select_from(associations).where(associations.c.ended_at.is_(None))
        with self._db.read() as connection:
            return int(connection.execute(wanted).scalar_one())
