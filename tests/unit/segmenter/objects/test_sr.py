"""The structured report: every number with unit, place, maker and material, and it opens in other people's readers."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ct_factory import CtSpec, write_ct
from findings_factory import IDENTITY, certificate, cut_femur, femur, findings, phantom
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.sr.codedict import codes

from segmenter.density.calibration import UNCALIBRATED, Calibration, CalibrationMode, Material
from segmenter.measure.findings import Findings
from segmenter.measure.records import Measurements
from segmenter.objects.codes import SCHEME, own_codes
from segmenter.objects.seg import write_seg
from segmenter.objects.sr import write_sr
from segmenter.read.image_kind import ImageKind
from segmenter.read.series import read_series
from segmenter.volume.femur import Confidence, Level, Side

ROOT = Path(__file__).parents[4]
BOTH = ("left", "right")
EXPECTED = re.compile(r"Warning.*(99QCTNODE|CodingSchemeUID|DeviceUID)")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A series and its segmentation of both balls."""
    folder = tmp_path_factory.mktemp("scan")
    spec = CtSpec(tags={"KVP": "120", "ConvolutionKernel": ["Br40", "3"]})
    series = read_series(write_ct(folder / "ct", spec))
    masks = dict(zip((Side.LEFT, Side.RIGHT), spec.balls(), strict=True))
    return series, write_seg(series, masks, IDENTITY, folder / "seg.dcm")


def report(scan, folder, said, identity=IDENTITY):
    series, seg = scan
    return write_sr(series, identity, said, seg if said.measurements.femurs else None, folder / "sr.dcm")


def groups_of(path):
    """Volumetric groups by their tracking identifier."""
    content = srread(path).content
    return {group.tracking_identifier: group for group in content.get_volumetric_roi_measurement_groups()}


def others_of(path):
    content = srread(path).content
    return {group.tracking_identifier: group for group in content.get_image_measurement_groups()}


def numbers(group):
    """(meaning, derivation) -> (value, unit) of a group."""
    return {
        (number.name.meaning, number.derivation.meaning if number.derivation else ""): (number.value, number.unit.value)
        for number in group.get_measurements()
    }


def modifiers(number):
    return {
        item.ConceptNameCodeSequence[0].CodeValue: item.ConceptCodeSequence[0].CodeValue
        for item in number[0].get("ContentSequence", [])
        if item.RelationshipType == "HAS CONCEPT MOD"
    }


def texts(group):
    return [item.TextValue for item in group[0].ContentSequence if item.ValueType == "TEXT"]


def walk(items):
    for item in items:
        yield item
        yield from walk(item.get("ContentSequence", []))


def words(path):
    """All sentences and meanings of a report."""
    found = []
    for item in walk(dcmread(path).ContentSequence):
        found.append(item.get("TextValue", ""))
        for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence"):
            found += [code.CodeMeaning for code in item.get(keyword, [])]
    return found


def test_each_region_of_each_femur_is_a_group_of_its_segment(scan, tmp_path):
    groups = groups_of(report(scan, tmp_path, findings(phantom(), *BOTH)))
    seg = dcmread(scan[1])
    assert len(groups) == 10
    for number, side in enumerate(BOTH, 1):
        whole = groups[f"qct-node {side} proximal femur"]
        assert whole.tracking_uid == seg.SegmentSequence[number - 1].TrackingUID
        parts = [group for name, group in groups.items() if name.startswith(f"qct-node {side}")]
        assert len({group.tracking_uid for group in parts}) == len(parts) == 5
        for group in parts:
            assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
            assert list(group.referenced_segment.referenced_segment_numbers) == [number]
            source = group.referenced_segment.source_series_for_segmentation
            assert source.value == scan[0].series_uid
            (site,) = group.finding_sites
            assert site.laterality.meaning.lower() == side
            inside = {item.ConceptCodeSequence[0].CodeValue for item in group[0].ContentSequence
                      if item.ConceptNameCodeSequence[0].CodeValue == "130400"}  # fmt: skip
            assert inside == (set() if group is whole else {"75958009"})
    neck = groups["qct-node left proximal femur, neck"]
    assert neck.finding_type.value == neck.finding_sites[0].value.value == "29627003"
    assert groups["qct-node right proximal femur"].finding_type == codes.SCT.ProximalFemur


def test_numbers_are_those_measured_with_their_units(scan, tmp_path):
    groups = groups_of(report(scan, tmp_path, findings(phantom(), "left")))
    whole = numbers(groups["qct-node left proximal femur"])
    assert whole == {
        ("Volume", ""): (180.5, "cm3"),
        ("Attenuation Coefficient", "Mean"): (354.5, "[hnsf'U]"),
        ("Attenuation Coefficient", "Standard Deviation"): (312.25, "[hnsf'U]"),
        ("Volumetric bone mineral density, K2HPO4 equivalent", "Mean"): (280.0, "mg/cm3"),
        ("Bone mineral content, K2HPO4 equivalent", ""): (50.54, "g"),
    }
    neck = numbers(groups["qct-node left proximal femur, neck"])
    assert neck["Femoral neck-shaft angle", ""] == (127.3, "deg")
    assert neck["Smallest cross-sectional area of femoral neck", ""] == (812.4, "mm2")
    total = groups["qct-node left proximal femur, total"]
    assert "100 mm below the top of the head" in texts(total)


@pytest.mark.parametrize(
    ("calibration", "material", "method"),
    [(phantom(), "K2HPO4", "CAL-PHANTOM"), (phantom(Material.HA), "256579008", "CAL-PHANTOM"),
     (certificate(), "256579008", "CAL-ASYNC"), (certificate(Material.K2HPO4), "K2HPO4", "CAL-ASYNC")],
)  # fmt: skip
def test_no_density_is_without_its_material_and_method(scan, tmp_path, calibration, material, method):
    path = report(scan, tmp_path, findings(calibration, *BOTH))
    densities = []
    for group in (*groups_of(path).values(), *others_of(path).values()):
        for number in group.get_measurements():
            if "one mineral" in number.name.meaning:
                densities.append(number)
                assert modifiers(number)["EQ-MATERIAL"] == material
                assert modifiers(number)["122422"] == method
            else:
                assert "EQ-MATERIAL" not in modifiers(number)
    assert len(densities) == 2 * 5 * 2 + 2
    named = {number.name.value for number in densities if not number.name.value.startswith("ASYM")}
    assert named == ({"VBMD-K2HPO4", "BMC-K2HPO4"} if material == "K2HPO4" else {"VBMD-HA", "BMC-HA"})


def test_a_density_of_another_material_than_the_calibrations_is_a_mistake(scan, tmp_path):
    mixed = replace(findings(phantom(), "left"), calibration=certificate())
    with pytest.raises(AssertionError, match="have different materials"):
        report(scan, tmp_path, mixed)


def test_the_calibration_can_be_checked(scan, tmp_path):
    calibration = replace(phantom(), phantom="Mindways Größe 3", warnings=("rods are noisy",))
    path = report(scan, tmp_path, replace(findings(phantom(), "left"), calibration=calibration))
    group = others_of(path)["qct-node density calibration"]
    rods = [number for number in group.get_measurements() if number.name.value == "CAL-ROD-HU"]
    lines = [number for number in group.get_measurements() if number not in rods]
    assert {number.name.meaning: (number.value, number.unit.value) for number in lines} == {
        "Slope of the calibration line": (1.25, "[hnsf'U].cm3/mg"),
        "Intercept of the calibration line": (4.5, "[hnsf'U]"),
        "Coefficient of determination of the calibration line": (0.9987, "1"),
        "KVP": (120.0, "kV"),
        "Slice Thickness": (3.0, "mm"),
    }
    properties = [
        [float(item.MeasuredValueSequence[0].NumericValue) for item in rod[0].ContentSequence
         if item.RelationshipType == "HAS PROPERTIES"] for rod in rods
    ]  # fmt: skip
    assert properties == [[round(rod.density_mg_cm3, 2), 8.5] for rod in calibration.rods]
    said = texts(group)
    assert said[1:] == ["Mindways Gro?e 3", "M3-0815", "2023-11-30", "Br40 3", "rods are noisy"]


def test_a_voltage_and_a_kernel_of_some_slices_only_are_not_those_of_the_scan(scan, tmp_path):
    series, seg = scan
    kinds = [ImageKind(kvp=80.0 if n < 5 else 120.0, kernel="Br40" if n < 5 else "Br60") for n in range(20)]
    slices = tuple(replace(plane, kind=kind) for plane, kind in zip(series.slices, kinds, strict=True))
    path = report((replace(series, slices=slices), seg), tmp_path, findings(UNCALIBRATED, "left"))
    group = others_of(path)["qct-node density calibration"]
    assert [number.name.meaning for number in group.get_measurements()] == ["Slice Thickness"]
    assert not [said for said in texts(group) if "Br" in said]


@pytest.mark.parametrize("calibration", [UNCALIBRATED, Calibration(CalibrationMode.NONE, warnings=("no rods seen",))])
def test_without_calibration_there_is_no_density_and_the_report_says_so(scan, tmp_path, calibration):
    path = report(scan, tmp_path, findings(calibration, *BOTH))
    assert not any("mineral" in word or "Equivalent" in word for word in words(path))
    group = others_of(path)["qct-node density calibration"]
    (answer,) = [a for a in group.get_qualitative_evaluations() if a.name == codes.DCM.CalibrationMethod]
    assert answer.value.meaning == "Not calibrated: HU only"
    assert texts(group)[2:] == list(calibration.warnings)


def test_left_against_right(scan, tmp_path):
    path = report(scan, tmp_path, findings(phantom(), *BOTH))
    found = numbers(others_of(path)["qct-node left against right proximal femur, total"])
    assert list(found.values()) == [(1.25, "%"), (-12.5, "[hnsf'U]"), (-2.5, "%"), (0.75, "%")]
    assert not any("against" in name for name in others_of(report(scan, tmp_path, findings(phantom(), "left"))))


@pytest.mark.parametrize(
    ("confidence", "answer", "width"),
    [(Confidence(Level.HIGH, 2.13), "75540009", (2.13, "mm")),
     (Confidence(Level.MEDIUM, 3.9), "255508009", (3.9, "mm")),
     (Confidence(Level.LOW, 6.0), "62482003", (6.0, "mm")), (Confidence(Level.LOW), "62482003", None),
     (None, None, None)],
)  # fmt: skip
def test_the_confidence_is_that_of_the_outline_or_absent(scan, tmp_path, confidence, answer, width):
    said = findings(phantom(), "left")
    (femur,) = said.measurements.femurs
    measured = replace(said.measurements, femurs=(replace(femur, confidence=confidence),))
    groups = groups_of(report(scan, tmp_path, replace(said, measurements=measured)))
    for name, group in groups.items():
        answers = [a.value for a in group.get_qualitative_evaluations() if a.name.value == "CONFIDENCE"]
        whole = name == "qct-node left proximal femur"
        assert [(a.value, a.scheme_designator) for a in answers] == ([(answer, "SCT")] if whole and answer else [])
        found = numbers(group).get(("Width of the zone in which the outline is uncertain", ""))
        assert found == (width if whole else None)


def test_what_is_wrong_with_a_femur_is_answered_and_told(scan, tmp_path):
    said = Findings(
        Measurements((femur("left", phantom()), cut_femur("right", phantom()))), phantom(), ("3 slices left out",)
    )
    path = report(scan, tmp_path, said)
    groups = groups_of(path)
    wholes = {side: groups[f"qct-node {side} proximal femur"] for side in BOTH}
    answers = {
        side: {answer.name.value: answer.value.value for answer in whole.get_qualitative_evaluations()}
        for side, whole in wholes.items()
    }
    yes, no = "373066001", "373067005"
    assert answers["left"] == answers["left"] | {"COMPLETENESS": "COMPLETE", "METAL": no, "CONTRAST": no}
    assert answers["right"] == answers["right"] | {"COMPLETENESS": "130576", "METAL": yes, "CONTRAST": no}
    assert texts(wholes["right"])[-2:] == [
        "incomplete: head cut off by the scan",
        "metal within 10 mm of the bone: densities near it are wrong",
    ]
    assert "qct-node right proximal femur, neck" not in groups
    (notes,) = [item for item in walk(dcmread(path).ContentSequence)
                if item.ConceptNameCodeSequence[0].CodeValue == "C0034375"]  # fmt: skip
    assert [item.get("TextValue") for item in notes.ContentSequence] == [
        None, "for investigational use", "3 slices left out"
    ]  # fmt: skip


def test_a_neck_that_failed_its_checks_says_why(scan, tmp_path):
    whole = femur("left", phantom())
    bad = replace(whole, neck=replace(whole.neck, problems=("the axis is unsure",)), regions=whole.regions[:2])
    groups = groups_of(report(scan, tmp_path, Findings(Measurements((bad,)), phantom())))
    neck = groups["qct-node left proximal femur, neck"]
    assert set(numbers(neck)) == {
        ("Femoral neck-shaft angle", ""),
        ("Smallest cross-sectional area of femoral neck", ""),
    }
    assert "femoral neck: the axis is unsure" in texts(neck)


def test_nothing_found_is_a_report_that_says_so(scan, tmp_path):
    path = report(scan, tmp_path, Findings(Measurements(()), UNCALIBRATED, ("the scan is short",)))
    assert not groups_of(path)
    (group,) = others_of(path).values()
    answers = [answer.value.meaning for answer in group.get_qualitative_evaluations()]
    assert answers[-1] == "No proximal femur found in the scan"
    data = dcmread(path)
    outcomes = [item.ConceptCodeSequence[0].CodeValue for item in walk(data.ContentSequence)
                if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "OUTCOME"]  # fmt: skip
    assert outcomes == ["NOT-FOUND", "NOT-FOUND"]
    assert "the scan is short" in words(path)
    (series,) = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == scan[0].series_uid


def test_who_measured_what(scan, tmp_path):
    data = dcmread(report(scan, tmp_path, findings(phantom(), "left")))
    items = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in walk(data.ContentSequence)}
    assert items["Device Observer Model Name"].TextValue == "femur-vnet"
    assert items["Algorithm Name"].TextValue == "femur-vnet"
    assert items["Algorithm Version"].TextValue == "1.2.3"
    assert any(item.get("TextValue") == f"sha256={'ab' * 32}" for item in walk(data.ContentSequence))
    assert items["Procedure reported"].ConceptCodeSequence[0].CodeValue == "25045-6"
    assert items["Language of Content Item and Descendants"].ConceptCodeSequence[0].CodeValue == "en-US"
    (equipment,) = data.ContributingEquipmentSequence
    assert (equipment.ManufacturerModelName, equipment.SoftwareVersions[0]) == ("femur-vnet", "1.2.3")
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert equipment.DeviceUID == items["Device Observer UID"].UID
    first, second = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in first.ReferencedSOPSequence] == [dcmread(scan[1]).SOPInstanceUID]
    assert [item.ReferencedSOPInstanceUID for item in second.ReferencedSOPSequence] == list(scan[0].instance_uids)


def test_the_device_changes_with_the_model_only(scan, tmp_path):
    def device(**change):
        data = dcmread(report(scan, tmp_path, findings(phantom(), "left"), replace(IDENTITY, **change)))
        return data.ContributingEquipmentSequence[0].DeviceUID

    assert device() == device(settings_digest="ee" * 32)
    assert device() != device(model_digest="ee" * 32)
    seg = dcmread(scan[1])
    assert seg.ContributingEquipmentSequence[0].DeviceUID == device()
    assert {seg.SeriesNumber, dcmread(tmp_path / "sr.dcm").SeriesNumber} == {5004, 6004}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (("241577003", "SCT", "CT of hip"), "241577003"),
        (("A" * 17, "SCT", "too long a code"), "25045-6"),
        (("1", "", "no scheme"), "25045-6"),
        (("1", "99X", "x" * 65), "25045-6"),
    ],
)
def test_the_procedure_is_the_imaging_procedure_if_it_is_coded_well(tmp_path, item, expected):
    from pydicom import config
    from pydicom.dataset import Dataset

    code = Dataset()
    with config.disable_value_validation():
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = item
        files = write_ct(tmp_path / "ct", CtSpec(), lambda _, ds: setattr(ds, "ProcedureCodeSequence", [code]))
    series = read_series(files)
    data = dcmread(write_sr(series, IDENTITY, Findings(Measurements(())), None, tmp_path / "sr.dcm"))
    said = [i for i in data.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121058"]
    assert [i.ConceptCodeSequence[0].CodeValue for i in said] == [expected]


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Möller^Käthe"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 192", "山田^太郎"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    ],
)
def test_names_in_any_character_set_come_through(tmp_path, character_set, name):
    tags = {"SpecificCharacterSet": character_set, "PatientName": name}
    series = read_series(write_ct(tmp_path / "ct", CtSpec(tags=tags)))
    said = Findings(Measurements(()), UNCALIBRATED, ("größer als gewöhnlich: 5 µm",))
    data = dcmread(write_sr(series, IDENTITY, said, None, tmp_path / "sr.dcm"))
    assert (data.SpecificCharacterSet, data.PatientName) == (character_set, name)
    assert "gro?er als gewohnlich: 5 ?m" in words(tmp_path / "sr.dcm")


def test_same_input_gives_the_same_bytes(scan, tmp_path):
    first = report(scan, tmp_path, findings(phantom(), *BOTH)).read_bytes()
    assert report(scan, tmp_path, findings(phantom(), *BOTH)).read_bytes() == first
    data = dcmread(tmp_path / "sr.dcm")
    assert (data.ContentDate, data.ContentTime) == ("20240502", "080910.250000")
    assert "InstanceCreationDate" not in data
    assert (data.CompletionFlag, data.VerificationFlag, data.PreliminaryFlag) == (
        "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    )  # fmt: skip


SAID = {
    "calibrated": findings(phantom(), *BOTH),
    "certificate": findings(certificate(), "right"),
    "uncalibrated": findings(UNCALIBRATED, *BOTH),
    "nothing": Findings(Measurements(())),
}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_other_programs_take_it(scan, tmp_path, tool, said):
    path = report(scan, tmp_path, said)
    checked = run(tool("dciodvfy"), "-new", path)
    complaints = [line for line in (checked.stdout + checked.stderr).splitlines() if line != "Comprehensive3DSR"]
    # The private scheme and an attribute younger than the checker are all that it may wonder about.
    assert [line for line in complaints if not EXPECTED.match(line)] == []
    dumped = run(tool("dsrdump"), path)
    assert dumped.returncode == 0, dumped.stderr
    reader = Path(sys.executable).with_name("tid1500reader")
    read = run(reader, "--inputDICOM", path, "--outputMetadata", tmp_path / "sr.json")
    assert read.returncode == 0, read.stderr
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    femurs = said.measurements.femurs
    regions = sum(len(f.regions) for f in femurs)
    assert sum("ReferencedSegment" in group for group in groups) == regions
    assert [group["TrackingIdentifier"] for group in groups[regions:]] == (
        ["qct-node left against right proximal femur, total"] * (len(femurs) == 2)
        + ["qct-node density calibration" if femurs else "qct-node search for proximal femora"]
    )


def test_the_page_explains_every_private_code():
    page = (ROOT / "docs" / "reference" / "sr.md").read_text()
    explained = re.findall(r"^\| `([A-Z0-9-]+)` \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert {code: meaning for code, meaning, _ in explained} == own_codes()
    assert all(len(explanation) > 10 for _, _, explanation in explained)
    assert all(len(code) <= 16 and len(meaning) <= 64 for code, meaning in own_codes().items())
    assert SCHEME in page
