"""A Query SCP whose responses a test sets, for tests of the Query SCU."""

from collections.abc import Callable, Iterator

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from node.settings.routing import Peer

PENDING, SUCCESS = 0xFF00, 0x0000
Answers = Callable[[Dataset], Iterator[tuple[int, Dataset | None]]]


class FindScp:
    """Listens on a free port; `answers` turns the identifier of a query into responses. asked: the levels so far."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[str] = []
        ae = AE("PACS")
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        self._server = ae.start_server(("127.0.0.1", 0), block=False)
        self.handle(self._find)
        self.peer = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=self._server.server_address[1])

    def handle(self, find: Callable[[evt.Event], Iterator[tuple[int, Dataset | None]]]) -> None:
        """Make `find` answer each C-FIND from now on."""
        self._server.bind(evt.EVT_C_FIND, find)

    def _find(self, event):
        self.asked.append(event.identifier.QueryRetrieveLevel)
        yield from self.answers(event.identifier)

    def stop(self) -> None:
        self._server.shutdown()


def match(asked: Dataset, **values: object) -> tuple[int, Dataset]:
    """Return a pending response to a query with its keys and these values."""
    found = Dataset()
    found.update(asked)
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return PENDING, found


def holding(count: int) -> Answers:
    """Answer that every series has this number of instances, as an archive does."""

    def answers(asked: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        yield match(asked, NumberOfSeriesRelatedInstances=count)

    return answers
