"""A segmenter for tests whose result tells which bytes of which slices it was made from.

The same slices give the same bytes; other slices, or another version of one slice, give another UID.
"""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

from e2e.crash.studies import read_sent, result_uid
from pydicom import dcmread
from pydicom.dataset import Dataset
from stub_segmenter import StubSegmenter, write_object

from worker.segmentation import SegmentationOutput

LONGEST_SECONDS = 0.3  # long enough to be killed at work


@dataclass(frozen=True)
class TraceableSegmenter(StubSegmenter):
    """Reads every slice and writes one object that refers to all of them."""

    def segment(self, files, out, created, on_stage, *_more, **_options) -> SegmentationOutput:
        on_stage("read")
        slices = sorted((sent.sop_uid, sent.sha256) for sent in map(read_sent, files))
        uid = result_uid(slices)
        on_stage("segment")
        time.sleep(LONGEST_SECONDS * int(hashlib.sha256(uid.encode()).hexdigest()[:4], 16) / 0xFFFF)
        on_stage("write")
        source = dcmread(files[0])
        target = out / "seg.dcm"
        write_object(source, created, target)
        made = dcmread(target)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
        made.ReferencedSeriesSequence = [_references(source, [sop for sop, _ in slices])]
        made.save_as(target, enforce_file_format=True)
        report = out / "report.json"
        report.write_text(f'{{"outputs": ["{target.name}"]}}')
        return SegmentationOutput((target, report), {"outputs": [target.name], "timings": {"segment": 0.1}})


def _references(source: Dataset, sop_uids: Iterable[str]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ReferencedInstanceSequence = []
    for sop_uid in sop_uids:
        instance = Dataset()
        instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = source.SOPClassUID, sop_uid
        series.ReferencedInstanceSequence.append(instance)
    return series
