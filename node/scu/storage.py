"""The Storage SCU: sends files unchanged and reports in plain words what the peer answered.

The one exception: for a peer that accepts only Implicit VR Little Endian, an Explicit VR file is converted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.status import code_to_category

from node.scu.requestor import describe_peer, open_association
from node.settings.routing import Peer

# Send the bytes of a file unchanged, without decoding and encoding them.
_config.STORE_SEND_CHUNKED_DATASET = True

MAX_KINDS = 64  # a kind needs up to two of the 128 contexts: the context id is an odd byte (PS3.8 9.3.2.2)
PROCESSING_FAILURE = 0x0110  # PS3.7 annex C.5
DUPLICATE_SOP_INSTANCE = 0x0111  # PS3.7 C.5.5
OUT_OF_RESOURCES = range(0xA700, 0xA800)  # PS3.4 B.2.3


@dataclass(frozen=True)
class SendOutcome:
    """The outcome for one file. ok: the peer has it. retry: the peer does not have it, but may accept it later."""

    path: Path
    sop_uid: str
    ok: bool
    retry: bool = False
    reason: str = ""


@dataclass(frozen=True)
class _Item:
    path: Path
    sop_uid: str
    context: tuple[str, str]  # SOP class, transfer syntax


OnEach = Callable[[SendOutcome], None]


def send_files(
    peer: Peer,
    files: Sequence[Path],
    calling_ae: str,
    on_each: OnEach | None = None,
    timeout: float = 30,
) -> list[SendOutcome]:
    """Store files at a peer, each in its own transfer syntax, over as few associations as their kinds allow.

    on_each: called after each file. timeout: seconds to wait for each response. Returns one outcome per file, in order.
    Raises PeerError when no association can be established (with `retry` where waiting can help).
    """
    tell = on_each or (lambda _sent: None)
    outcomes: dict[Path, SendOutcome] = {}

    def note(sent: SendOutcome) -> None:
        outcomes[sent.path] = sent
        tell(sent)

    items = []
    for path in files:
        item = _inspect(path)
        if isinstance(item, SendOutcome):
            note(item)
        else:
            items.append(item)
    for group in _groups(items):
        kinds = dict.fromkeys(item.context for item in group)
        offers = dict.fromkeys(offer for kind in kinds for offer in _offers(kind))
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in offers]
        with open_association(peer, calling_ae, contexts, timeout) as association:
            for item in group:
                note(_store(association, peer, item))
    return [outcomes[path] for path in files]


def _inspect(path: Path) -> _Item | SendOutcome:
    try:
        meta = read_file_meta_info(path)
        return _Item(
            path,
            str(meta.MediaStorageSOPInstanceUID),
            (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)),
        )
    except (InvalidDicomError, AttributeError):
        return SendOutcome(path, "", ok=False, reason="not a DICOM file")
    except OSError as error:
        return SendOutcome(path, "", ok=False, reason=f"cannot be read: {error.strerror}")


def _groups(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    """Split the items so that no association needs more presentation contexts than there are."""
    kinds = list(dict.fromkeys(item.context for item in items))
    for start in range(0, len(kinds), MAX_KINDS):
        chosen = set(kinds[start : start + MAX_KINDS])
        yield [item for item in items if item.context in chosen]


def _offers(kind: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the contexts a kind of file is offered in, the best first; Implicit VR is the default (PS3.5 10.1)."""
    sop_class, syntax = kind
    return [kind, (sop_class, ImplicitVRLittleEndian)] if syntax == ExplicitVRLittleEndian else [kind]


def _in_implicit(path: Path) -> Dataset:
    """Return an Explicit VR Little Endian file's data set as Implicit VR Little Endian; the file stays as it is.

    Raises ValueError, without the values at fault, when its data set cannot be encoded so.
    """
    encoded = BytesIO()
    try:
        dataset = dcmread(path)
        for _ in dataset.iterall():  # an element that is not decoded would be written unchanged
            pass
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(encoded, implicit_vr=True, little_endian=True)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"it does not convert to Implicit VR Little Endian ({type(error).__name__})") from None
    encoded.seek(0)
    return dcmread(encoded)


def _store(association: Association, peer: Peer, item: _Item) -> SendOutcome:
    if not association.is_established:
        return SendOutcome(item.path, item.sop_uid, ok=False, retry=True, reason="the association was lost before it")
    sop_class, syntax = item.context
    accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
    accepted_as = next((offer for offer in _offers(item.context) if offer in accepted), None)
    if accepted_as is None:
        kind = f"{UID(sop_class).name} in {UID(syntax).name}"
        return SendOutcome(item.path, item.sop_uid, ok=False, reason=f"{describe_peer(peer)} does not accept {kind}")
    try:
        answer = association.send_c_store(item.path if accepted_as == item.context else _in_implicit(item.path))
    except (RuntimeError, OSError) as error:  # the association was lost, or the file cannot be read
        return SendOutcome(item.path, item.sop_uid, ok=False, retry=True, reason=f"could not be sent: {error}")
    except (ValueError, TypeError, AttributeError) as error:  # its meta information is invalid
        return SendOutcome(item.path, item.sop_uid, ok=False, reason=f"cannot be sent: {error}")
    if "Status" not in answer:
        return SendOutcome(
            item.path, item.sop_uid, ok=False, retry=True, reason=f"{describe_peer(peer)} did not answer in time"
        )
    return _judge(item, peer, answer.Status)


def _judge(item: _Item, peer: Peer, status: int) -> SendOutcome:
    """Judge a C-STORE status: success and warnings mean stored, out of resources is temporary (PS3.4 B.2.3).

    The peer's Error Comment is not used: it may contain patient data.
    """
    category = code_to_category(status)
    if category in {"Success", "Warning"}:
        return SendOutcome(item.path, item.sop_uid, ok=True, reason="" if status == 0 else f"warning 0x{status:04X}")
    if status == DUPLICATE_SOP_INSTANCE:  # sent before, and the response was lost: one UID means one object
        return SendOutcome(item.path, item.sop_uid, ok=True, reason="it has this instance already")
    said = f"{describe_peer(peer)} answered 0x{status:04X}"
    if status in OUT_OF_RESOURCES:
        return SendOutcome(item.path, item.sop_uid, ok=False, retry=True, reason=f"{said}: it is out of resources")
    if status == PROCESSING_FAILURE:
        return SendOutcome(
            item.path, item.sop_uid, ok=False, retry=True, reason=f"{said}: it could not process this object"
        )
    return SendOutcome(item.path, item.sop_uid, ok=False, reason=f"{said}: it does not accept this object")
