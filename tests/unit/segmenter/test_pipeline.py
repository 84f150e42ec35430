"""The whole way of one series, with a simple segmenter in place of the network; the report; the command."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from ct_factory import OBLIQUE, CtSpec, write_ct
from pydicom import dcmread

from segmenter.errors import SegmenterError
from segmenter.output.outputs import OutputOptions
from segmenter.pipeline import STAGES, SegmentationMethod, SegmentRequest, segment
from segmenter.read.patient_age import CHILD
from segmenter.volume.femur import Femur, Refusal, Search, Side


def dense(volume, geometry, on_stage):
    """Call everything above 500 HU bone, and tell the sides by the patient's X."""
    on_stage("segment")
    points = geometry.to_patient(np.moveaxis(np.indices(volume.shape), 0, -1))
    bone = volume > 500
    left = bone & (points[..., 0] > 12)
    halves = ((Side.LEFT, left, ()), (Side.RIGHT, bone & ~left, ("the shaft leaves the scan",)))
    return Search(tuple(Femur(side, mask, not why, why) for side, mask, why in halves if mask.any()))


METHOD = SegmentationMethod("dense", "1", "ab" * 32, dense)
CERTIFICATE = """
mode = "asynchronous"
[[asynchronous]]
manufacturer = "MAKER"
model = "MODEL"
station_name = "STATION"
kvp = 120
slope_hu_per_mg_cm3 = 1.4
intercept_hu = 4.0
equivalent_material = "HA"
certificate_date = 2024-01-01
valid_until = 2099-01-01
"""


@pytest.fixture
def spec():
    scanner = {"Manufacturer": "MAKER", "ManufacturerModelName": "MODEL", "StationName": "STATION", "KVP": "120"}
    return CtSpec(orientation=OBLIQUE, tags=scanner)


@pytest.fixture
def files(tmp_path, spec):
    """Two balls of 900 HU in water."""
    left, right = spec.balls()
    stored = np.where(left | right, 900 + 1024, 1024).astype("<u2")
    return write_ct(tmp_path / "ct", spec, lambda k, ds: setattr(ds, "PixelData", stored[k].tobytes()))


def test_files_in_results_out(tmp_path, files, spec):
    stages = []
    report = segment(SegmentRequest(files, tmp_path / "out"), stages.append, METHOD)
    assert tuple(stages) == tuple(report.timings) == STAGES
    assert all(seconds >= 0 for seconds in report.timings.values())
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        "overlay.pdf", "overlay.png", "report.json", "sc.dcm", "seg.dcm", "sr.dcm",
    ]  # fmt: skip
    seg = dcmread(tmp_path / "out" / "seg.dcm")
    assert seg.pixel_array.sum() == sum(ball.sum() for ball in spec.balls())
    item, sr, sc = report.objects
    assert [dcmread(tmp_path / "out" / other.path).Modality for other in (sr, sc)] == ["SR", "OT"]
    assert (item.sop_instance_uid, item.series_uid) == (seg.SOPInstanceUID, seg.SeriesInstanceUID)
    assert item.sha256 == hashlib.sha256((tmp_path / "out" / "seg.dcm").read_bytes()).hexdigest()


def test_report_holds_the_contract(tmp_path, files, spec):
    report = segment(SegmentRequest(files, tmp_path / "out"), method=METHOD)
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written == json.loads(report.to_json())
    assert set(written) >= {"femurs", "outputs", "objects", "timings", "model", "warnings", "series", "notice"}
    left, right = written["femurs"]
    balls = spec.balls()
    assert [left["voxels"], right["voxels"]] == [int(ball.sum()) for ball in balls]
    assert left["volume_ml"] == pytest.approx(balls[0].sum() * 3 * 2.5 * 2 / 1000, abs=1e-3)
    assert (left["side"], left["complete"], left["mean_hu"]) == ("left", True, 900.0)
    assert (right["complete"], right["incomplete_reasons"]) == (False, ["the shaft leaves the scan"])
    assert written["model"] == {"name": "dense", "version": "1", "digest": "ab" * 32}
    assert written["series"]["geometry"]["shape"] == [20, 24, 28]
    assert len(written["series"]["uids"]) == 20
    assert written["notice"] == "for investigational use"
    assert not any(secret in report.to_json() for secret in ("SECRET", "1940", "Möller"))


def test_a_second_run_gives_the_same_bytes(tmp_path, files):
    for name in ("a", "b"):
        segment(SegmentRequest(files, tmp_path / name, outputs=OutputOptions(labelmap=True, mesh=True)), method=METHOD)
    for path in (tmp_path / "a").iterdir():
        if path.name != "report.json":  # it holds seconds
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert dcmread(tmp_path / "a/seg.dcm").ContentDate == "20240501"


def test_created_and_settings_go_into_the_object(tmp_path, files):
    moment = datetime(2031, 2, 3, 4, 5, 6)
    plain = segment(SegmentRequest(files, tmp_path / "a", moment), method=METHOD)
    tuned = segment(SegmentRequest(files, tmp_path / "b", moment, settings={"threshold": "0.4"}), method=METHOD)
    assert dcmread(tmp_path / "a" / plain.objects[0].path).ContentDate == "20310203"
    assert plain.objects[0].sop_instance_uid != tuned.objects[0].sop_instance_uid


def test_no_femur_gives_a_report_that_says_so(tmp_path, spec):
    water = np.full(spec.shape[1:], 1024, "<u2").tobytes()
    files = write_ct(tmp_path / "ct", spec, lambda k, ds: setattr(ds, "PixelData", water))
    report = segment(
        SegmentRequest(files, tmp_path / "out", outputs=OutputOptions(labelmap=True, mesh=True)), method=METHOD
    )
    assert (report.finding, report.femurs) == ("there is no proximal femur in the scan", ())
    assert [dcmread(tmp_path / "out" / item.path).Modality for item in report.objects] == ["SR", "OT"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"sr.dcm", "sc.dcm", "overlay.png", "overlay.pdf", "report.json"}


def refusing(volume, geometry, on_stage):
    found = dense(volume, geometry, on_stage)
    return Search(found.femurs[:1], (Refusal(Side.RIGHT, "bone cut by the field of view"),))


def test_a_bone_that_is_not_claimed_is_named_in_every_report(tmp_path, files):
    report = segment(SegmentRequest(files, tmp_path), method=replace(METHOD, find=refusing))
    said = "right: no femur is claimed: bone cut by the field of view"
    assert (report.finding, [femur.side for femur in report.femurs]) == ("", ["left"])
    assert [(one.side, one.reason) for one in report.refused] == [("right", "bone cut by the field of view")]
    assert said in report.warnings
    remarks = dcmread(tmp_path / "sr.dcm").ContentSequence[-1].ContentSequence
    assert said in [item.get("TextValue") for item in remarks]


def test_where_every_bone_is_refused_the_finding_says_what_was_seen(tmp_path, files):
    def find(*given):
        return Search((), refusing(*given).refused)

    report = segment(SegmentRequest(files, tmp_path), method=replace(METHOD, find=find))
    assert report.finding == "no proximal femur is claimed in the scan (right: bone cut by the field of view)"
    assert [dcmread(tmp_path / item.path).Modality for item in report.objects] == ["SR", "OT"]
    (group,) = dcmread(tmp_path / "sr.dcm").ContentSequence[-2].ContentSequence
    assert group.ContentSequence[-1].TextValue == "right: bone cut by the field of view"


def test_where_metal_hides_the_femur_the_finding_says_so(tmp_path, spec):
    water = np.full(spec.shape[1:], 1024, "<u2")
    water[9:15, 11:17] = 1024 + 3000  # metal
    files = write_ct(tmp_path / "ct", spec, lambda k, ds: setattr(ds, "PixelData", water.tobytes()))
    method = replace(METHOD, find=lambda *_: Search(()))
    report = segment(SegmentRequest(files, tmp_path / "out"), method=method)
    assert report.finding.startswith("no proximal femur is claimed in the scan (no femur was segmented, and there is ")
    assert "an implant may be the reason" in report.finding


def test_a_child_by_the_header_is_told_and_its_age_is_not(tmp_path, spec):
    files = write_ct(tmp_path / "ct", spec, lambda k, ds: setattr(ds, "PatientAge", "009Y"))
    report = segment(SegmentRequest(files, tmp_path / "out"), method=METHOD)
    assert CHILD in report.warnings
    assert "009" not in " ".join(report.warnings)


def test_label_map_and_meshes_are_written_when_wanted(tmp_path, files):
    report = segment(
        SegmentRequest(files, tmp_path / "out", outputs=OutputOptions(labelmap=True, mesh=True)), method=METHOD
    )
    names = list(report.outputs)
    assert names == [
        "seg.dcm", "labelmap.dcm", "sr.dcm", "sc.dcm", "overlay.png", "overlay.pdf",
        "left.stl", "left.ply", "right.stl", "right.ply", "report.json",
    ]  # fmt: skip
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)
    series = [item.series_uid for item in report.objects]
    assert len(set(series)) == 4


def test_faulty_calibration_settings_are_told_before_any_work(tmp_path, files):
    path = tmp_path / "calibration.toml"
    path.write_text("mode = 'guess'\n")
    stages = []
    with pytest.raises(SegmenterError, match="mode"):
        segment(SegmentRequest(files, tmp_path / "out", calibration=path), stages.append, METHOD)
    assert stages == []


def test_other_calibration_settings_make_other_results(tmp_path, files):
    path = tmp_path / "calibration.toml"
    path.write_text(CERTIFICATE)
    plain = segment(SegmentRequest(files, tmp_path / "a"), method=METHOD)
    report = segment(SegmentRequest(files, tmp_path / "b", calibration=path), method=METHOD)
    assert {item.sop_instance_uid for item in plain.objects}.isdisjoint(
        item.sop_instance_uid for item in report.objects
    )
    assert (plain.calibration.mode, plain.femurs[0].vbmd_mg_cm3) == ("none", None)
    assert (report.calibration.mode, report.calibration.equivalent_material) == ("asynchronous", "HA")
    assert report.femurs[0].vbmd_mg_cm3 == pytest.approx((900 - 4) / 1.4, abs=1e-3)
    assert report.femurs[0].equivalent_material == "HA"


def test_a_seg_that_fails_the_check_is_deleted(tmp_path, files):
    seg = tmp_path / "out" / "seg.dcm"

    def disk_fault(stage):
        if stage == "check":
            seg.write_bytes(seg.read_bytes()[:-64])

    with pytest.raises(SegmenterError, match="not released"):
        segment(SegmentRequest(files, tmp_path / "out"), disk_fault, METHOD)
    assert not seg.exists()
    assert not (tmp_path / "out" / "report.json").exists()


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "node", "segment", *map(str, args)], capture_output=True, text=True, check=False
    )


def test_command_says_what_is_wrong_in_one_sentence(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    refused = command(tmp_path, "--out", tmp_path / "out")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.strip() == "the folder holds no CT images"


def test_command_refuses_bad_usage(tmp_path):
    assert command(tmp_path).returncode == 2
    assert command(tmp_path / "nowhere", "--out", tmp_path).returncode == 2
