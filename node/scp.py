"""The Storage and Verification SCP: listens, takes every storage SOP class, and leaves the rest to the handlers."""

import logging
import threading
import time
from typing import Self

from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts
from pynetdicom.transport import ThreadedAssociationServer

from node.errors import NodeError
from node.handlers import Handlers
from node.inbox import Inbox
from node.ledger import Ledger
from node.settings import Settings

log = logging.getLogger(__name__)

VERIFICATION = UID("1.2.840.10008.1.1")
TRANSFER_SYNTAXES = [
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
    "1.2.840.10008.1.2.4.203",  # HTJ2K
]
REQUEST_SECONDS = 10.0
"""How long a connection may take to ask for an association; a mere port check holds its place so long."""
LAST_WORDS_SECONDS = 5.0
"""How long a running association may go on when the node stops."""


class Receiver:
    """The listening SCP. `port` is the real one, also when the settings leave the choice to the system (0)."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ae = _application_entity(settings)
        inbox = Inbox(settings.data, settings.intake.min_free_mb)
        where = (settings.node.dicom_host, settings.node.dicom_port)
        try:
            server = self._ae.start_server(where, block=False, evt_handlers=Handlers(ledger, inbox).bindings())
        except OSError as error:
            raise NodeError(f"cannot listen for DICOM on {where[0]}:{where[1]}: {error.strerror}") from error
        assert isinstance(server, ThreadedAssociationServer)
        self._server = server
        self.port: int = server.server_address[1]
        log.info("listening on %s:%d as %s", where[0], self.port, settings.node.ae_title)

    def stop(self) -> None:
        """Take no new associations, let running ones end for a moment, then abort them.

        What was not acknowledged the sender still has and sends again.
        """
        self._server.shutdown()
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while any(a.is_established for a in self._ae.active_associations) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._ae.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def run(settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    """Receive until `stop` is set. Raises NodeError when the port is taken."""
    with Receiver(settings, ledger):
        stop.wait()


def _application_entity(settings: Settings) -> AE:
    intake = settings.intake
    ae = AE(ae_title=settings.node.ae_title)
    ae.require_called_aet = True
    if not settings.accepts_unknown_peers:
        # Ourselves, too: `up` and `status` verify that we answer. (An empty list would let everybody in.)
        ae.require_calling_aet = [settings.node.ae_title, *(peer.ae_title for peer in settings.peers)]
    ae.maximum_associations = intake.maximum_associations
    ae.maximum_pdu_size = 0  # no limit: fewer, larger PDUs
    ae.dimse_timeout = ae.network_timeout = intake.network_timeout_seconds
    ae.acse_timeout = REQUEST_SECONDS
    for context in AllStoragePresentationContexts:
        assert context.abstract_syntax is not None
        ae.add_supported_context(context.abstract_syntax, TRANSFER_SYNTAXES)
    ae.add_supported_context(VERIFICATION)
    return ae
