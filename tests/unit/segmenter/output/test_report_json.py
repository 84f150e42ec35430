"""`report.json`: the published schema is that of the records, and it refuses what it should."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from findings_factory import cut_femur, findings, phantom
from jsonschema import Draft202012Validator

from segmenter.density.calibration import UNCALIBRATED, Material
from segmenter.measure.records import Measurements
from segmenter.output.femur_report import describe_measurements
from segmenter.output.report_json import describe_calibration, json_schema
from segmenter.volume.femur import Confidence, Level

DOCS = Path(__file__).parents[4] / "docs/reference"
UNITS = ("_ml", "_mm", "_mm2", "_hu", "_g", "_mg_cm3", "_deg", "_percent", "_hu_per_mg_cm3")


@pytest.fixture(scope="module")
def schema():
    return json.loads((DOCS / "report.schema.json").read_text())


@pytest.fixture
def example():
    return json.loads((DOCS / "report.example.json").read_text())


def faults(schema, report):
    return [error.message for error in Draft202012Validator(schema).iter_errors(report)]


def test_the_published_schema_is_that_of_the_records(schema):
    Draft202012Validator.check_schema(schema)
    assert schema == json_schema(), "run `make docs`"


def test_every_key_is_described_and_every_number_has_a_unit(schema):
    for record in [schema, *schema["$defs"].values()]:
        for key, value in record["properties"].items():
            assert value.get("description") or value.get("default"), key
            kinds = [value, *value.get("anyOf", ())]
            if any(kind.get("type") == "number" for kind in kinds):
                assert key.endswith(UNITS) or key in {"hu", "r2"}, key


def test_the_example_keeps_to_the_schema(schema, example):
    assert faults(schema, example) == []
    assert [femur["side"] for femur in example["femurs"]] == ["left", "right"]
    assert example["notice"] == "for investigational use"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.pop("calibration"),
        lambda report: report["femurs"][0].update(volume="145 ml"),
        lambda report: report["femurs"][0].update(volume_ml="145"),
        lambda report: report["femurs"][1]["regions"]["neck"].pop("equivalent_material"),
        lambda report: report["series"]["geometry"].update(shape=[1, 2]),
        lambda report: report.update(femurs=None),
    ],
)
def test_what_is_not_a_report_breaks_the_schema(schema, example, spoil):
    spoilt = deepcopy(example)
    spoil(spoilt)
    assert faults(schema, spoilt)


def test_densities_are_null_and_nothing_else_without_calibration():
    found = findings(UNCALIBRATED, "left", "right")
    femurs, asymmetry = describe_measurements(found.measurements)
    for region in (femurs[0], *femurs[0].regions.values()):
        assert (region.vbmd_mg_cm3, region.bmc_g, region.equivalent_material) == (None, None, None)
        assert region.volume_ml > 0
    assert (asymmetry[0].vbmd_percent, asymmetry[0].volume_percent) == (None, 1.25)
    assert describe_calibration(UNCALIBRATED).mode == "none"


@pytest.mark.parametrize("material", list(Material))
def test_the_material_travels_with_every_density(material):
    calibration = phantom(material)
    femurs, _ = describe_measurements(findings(calibration, "left").measurements)
    (femur,) = femurs
    assert {region.equivalent_material for region in (femur, *femur.regions.values())} == {str(material)}
    told = describe_calibration(calibration)
    assert (told.mode, told.equivalent_material, len(told.rods)) == ("phantom", str(material), 5)
    assert told.rods[1].residual_hu == -2.0
    assert femur.vbmd_mg_cm3 == round(float(calibration.density(354.5)), 3)


@pytest.mark.parametrize("width_mm", [3.25, None])
def test_the_confidence_is_given_or_null(width_mm):
    unsaid = cut_femur("left", UNCALIBRATED)
    said = replace(unsaid, side="right", confidence=Confidence(Level.MEDIUM, width_mm))
    (first, second), _ = describe_measurements(Measurements((unsaid, said)))
    assert first.confidence is None
    assert (second.confidence.level, second.confidence.width_mm) == ("medium", width_mm)


def test_a_femur_without_neck_and_total_has_null_there():
    measured = Measurements((replace(cut_femur("right", UNCALIBRATED), landmarks=None),))
    (femur,), asymmetry = describe_measurements(measured)
    assert (femur.side, femur.complete, femur.regions) == ("right", False, {})
    assert (femur.neck, femur.total_plane, femur.total_rule, femur.landmarks) == (None, None, "", None)
    assert asymmetry == ()
