"""kill -9 of a receiving process: every acknowledged instance is on disk and in the ledger afterwards."""

import hashlib
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom.dsutils import split_dataset

from node.ledger import Ledger
from node.scu.storage import send_files

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("deadly", [1, 7, 19])
def test_acknowledged_objects_are_stored_after_kill_9(serving, ct_series, deadly):
    files = ct_series(30)
    acknowledged = []

    def note(sent):
        if sent.ok:
            acknowledged.append(sent.sop_uid)
        if len(acknowledged) == deadly:
            serving.kill()

    outcomes = send_files(serving.peer, files, "SCANNER", note, timeout=5)
    assert len(acknowledged) >= deadly
    assert all(sent.retry for sent in outcomes if not sent.ok), "what was lost may be sent again"
    rows = serving.rows()
    assert set(acknowledged) <= set(rows)
    for path, sha256 in rows.values():
        meta, offset = split_dataset(path)
        sent = str(meta.TransferSyntaxUID).encode() + path.read_bytes()[offset:]
        assert hashlib.sha256(sent).hexdigest() == sha256
        assert dcmread(path).pixel_array.shape == (64, 72)

    serving.start()
    assert all(sent.ok for sent in send_files(serving.peer, files, "SCANNER"))
    assert len(serving.rows()) == 30
    ledger = Ledger.of(serving.settings)
    [job] = [job for job in ledger.queries.jobs() if job.series_uid]
    ledger.close()
    assert job.instances == 30


def test_serve_stops_cleanly_on_sigterm(serving, ct_series):
    assert all(sent.ok for sent in send_files(serving.peer, ct_series(2), "SCANNER"))
    assert serving.stop() == 0
    assert len(serving.rows()) == 2
