"""The PACS of the crash suite: a real Storage SCP that accepts every object and records it."""

import hashlib
import threading
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt


@dataclass(frozen=True)
class Stored:
    """One object received by the PACS. references: SOP Instance UIDs of the slices it was made from."""

    sop_uid: str
    study_uid: str
    sha256: str
    references: frozenset[str]


class Pacs:
    """Listens on a free port while the `with` block runs."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []
        self._studies: set[str] = set()
        self._lock = threading.Lock()
        ae = AE("PACS")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax))
        ae.maximum_associations = 50
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port: int = self._server.server_address[1]

    def has_result(self, study_uid: str) -> bool:
        """Tell whether a result of this study has arrived."""
        with self._lock:
            return study_uid in self._studies

    def __enter__(self) -> "Pacs":
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        data = event.request.DataSet.getvalue()
        dataset = event.dataset
        found = Stored(
            str(event.request.AffectedSOPInstanceUID),
            str(dataset.StudyInstanceUID),
            hashlib.sha256(data).hexdigest(),
            references_of(dataset),
        )
        with self._lock:
            self.stored.append(found)
            self._studies.add(found.study_uid)
        return 0x0000


def references_of(dataset: Dataset) -> frozenset[str]:
    """Return the SOP Instance UIDs in the Referenced Series Sequence (PS3.3 C.12.4)."""
    return frozenset(
        str(instance.ReferencedSOPInstanceUID)
        for series in dataset.get("ReferencedSeriesSequence", [])
        for instance in series.get("ReferencedInstanceSequence", [])
    )
