"""What follows when an object comes again under a known SOP Instance UID with other bytes."""

from dataclasses import replace
from enum import Enum

from node.dicom.pixel_bytes import LOSSLESS, pixel_digest, same_rescaling
from node.files.store import FileStore
from node.ledger import Ledger
from node.ledger.resends import Known
from node.records.instances import Arrival


class Resent(Enum):
    """What a later object is to the one in use."""

    SAME = "same"  # it was only encoded otherwise: its file is not needed
    SAME_INSTANCE = "same instance"  # compressed otherwise without loss, as far as the headers tell: its file is kept
    CORRECTED = "corrected"  # of another patient: a revision of its own uses it
    OTHER = "other"  # other content: kept beside the first one, and reported


def settle(ledger: Ledger, store: FileStore, arrival: Arrival) -> Resent:
    """Find out what an object recorded as a variant is, and record it in the ledger. Raises LedgerError."""
    known = ledger.resends.known(arrival)
    if known is None:
        return Resent.OTHER
    if not known.same_identity:
        return Resent.CORRECTED if ledger.resends.correct(arrival) else Resent.OTHER
    found = _compared(store, known, arrival) if known.same_header else Resent.OTHER
    if found is Resent.SAME:
        ledger.resends.forget(arrival)
    elif found is Resent.SAME_INSTANCE:
        ledger.resends.count_duplicate(arrival)
    return found


def settle_again(ledger: Ledger, store: FileStore, arrival: Arrival) -> None:
    """Settle what was recorded before with the content of a duplicate, if no revision uses it. Raises LedgerError.

    The node may have ended, or the ledger failed, between its record and its settlement; the sender, which got no
    success response, then sends it again. Or it came while the first objects of the series still arrived.
    """
    key = ledger.resends.unused(arrival)
    if key is not None and settle(ledger, store, replace(arrival, key=key)) is Resent.SAME:
        store.remove(key)


def _compared(store: FileStore, known: Known, arrival: Arrival) -> Resent:
    """Compare the pixels of two objects with the same header; in one transfer syntax, more than the syntax differs."""
    syntaxes = {known.transfer_syntax, arrival.transfer_syntax}
    if len(syntaxes) == 1 or not syntaxes <= LOSSLESS:
        return Resent.OTHER
    paths = store.path(known.key), store.path(arrival.key)
    if not same_rescaling(*paths):
        return Resent.OTHER
    first, later = map(pixel_digest, paths)
    if first is None or later is None:
        return Resent.SAME_INSTANCE
    return Resent.SAME if first == later else Resent.OTHER
