"""The archive of the demo: a small Storage SCP in the place of the PACS, which stores every object as one file.

Run it as a process of its own: ``python deploy/demo/archive.py --data DIR [--port N] [--aet AE]``; it prints one
ready line. Objects are stored as ``DIR/<study UID>/<series UID>/<SOP instance UID>.dcm``. For demonstration only.
"""

import hashlib
import logging
import os
import re
import signal
import threading
from io import BytesIO
from pathlib import Path

import click
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3
DATA_SET_DOES_NOT_MATCH = 0xA900  # PS3.4 B.2.3
CANNOT_UNDERSTAND = 0xC000  # PS3.4 B.2.3
OTHER_BYTES = 0xC001  # also "cannot understand"; 0x0111 would say that this object is stored, which is not so

UID_RULE = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", re.ASCII)  # PS3.5 9.1; excludes "..", "/" and NUL
UID_MAX = 64
UID_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

log = logging.getLogger("archive")


class RefusalError(Exception):
    """An object that is not stored; carries the C-STORE status to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def path_of(root: Path, uids: tuple[str, str, str]) -> Path:
    """Return the path of the object with these (study, series, instance) UIDs.

    Raises RefusalError if one of them is not a UID.
    """
    for uid in uids:
        if len(uid) > UID_MAX or not UID_RULE.fullmatch(uid):
            raise RefusalError(CANNOT_UNDERSTAND, "study, series or instance UID is missing or breaks PS3.5 9.1")
    study, series, instance = uids
    return root / study / series / f"{instance}.dcm"


def write_object(path: Path, content: bytes) -> bool:
    """Write `content` durably under its final name; return False if the file exists with the same bytes.

    Raises RefusalError if it exists with other bytes: one UID means one object, and the first copy stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, path)  # unlike a rename, never replaces a file that another association has just written
    except FileExistsError:
        if path.read_bytes() == content:
            return False
        raise RefusalError(OTHER_BYTES, "an object with this SOP instance UID and other bytes is stored") from None
    finally:
        temporary.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        sync_folder(folder)
    return True


def sync_folder(folder: Path) -> None:
    """Make the file names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def store(event: evt.Event, root: Path) -> int:
    """Answer one C-STORE request: store the bytes unchanged, or return the status of the refusal."""
    content = event.encoded_dataset()
    try:
        header = dcmread(BytesIO(content), specific_tags=list(UID_NAMES), stop_before_pixels=True)
        study, series, instance = (str(header.get(name, "")) for name in UID_NAMES)
        path = path_of(root, (study, series, instance))
        if instance != event.request.AffectedSOPInstanceUID:
            raise RefusalError(DATA_SET_DOES_NOT_MATCH, "the command and the data set name different SOP instances")
        new = write_object(path, content)
    except RefusalError as refusal:
        log.warning("refused with 0x%04X: %s", refusal.status, refusal)
        return refusal.status
    except OSError as error:
        log.warning("refused with 0x%04X: %s", OUT_OF_RESOURCES, error.strerror)
        return OUT_OF_RESOURCES
    except (InvalidDicomError, ValueError, KeyError, NotImplementedError) as error:
        log.warning("refused with 0x%04X: unreadable data set (%s)", CANNOT_UNDERSTAND, type(error).__name__)
        return CANNOT_UNDERSTAND
    log.info("%s %s %s", "stored" if new else "already had", hashlib.sha256(content).hexdigest(), path)
    return SUCCESS


@click.command()
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the stored objects."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default=True, help="0 = any free port; see the ready line.")
@click.option("--aet", default="ARCHIVE", show_default=True, help="AE title of the archive.")
def main(data: Path, host: str, port: int, aet: str) -> None:
    """Receive DICOM objects until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # its warnings quote values, which may be patient data
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    data.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    entity = AE(ae_title=aet)
    entity.maximum_pdu_size = 0
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, AllTransferSyntaxes)
    entity.add_supported_context(Verification)
    handlers = [(evt.EVT_C_STORE, store, [data])]
    try:
        server = entity.start_server((host, port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None
    click.echo(f"ready: archive {host}:{server.socket.getsockname()[1]} aet {aet}")
    stop.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
