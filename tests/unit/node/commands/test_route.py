"""The command `route` on folders of real files: its decisions, its explanations, and that it names no patient."""

import json

import pytest
from ct_factory import CtSpec, write_ct
from pydicom.uid import generate_uid

from node.cli import main

STUDY = generate_uid()
SETTINGS = r"""
[[peers]]
name = "pacs"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = 4242
[[routes]]
name = "trial"
called_ae = ["TRIAL"]
model = "models/trial"
priority = 9
[[routes]]
name = "thin"
series_description = ["*hip*"]
image_type = ['*\AXIAL*']
max_slice_thickness_mm = 3.5
[[routes]]
name = "knees"
series_description = ["*knee*"]
action = "decline"
[[routes]]
name = "doubtful"
calling_ae = ["UNKNOWN*"]
action = "hold"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.toml").write_text(SETTINGS)
    return tmp_path / "dicom"


@pytest.fixture
def run(capsys):
    """Run the command line; return exit code, stdout, stderr."""

    def call(*arguments):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


def series(folder, name, *, step=3.0, count=40, skip=(), edit=None, **tags):
    """Write a series of one study; the slices in `skip` are left out."""
    tags = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": generate_uid(), "SeriesDescription": name} | tags

    def own(index, ds):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        if edit:
            edit(index, ds)
            ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID

    files = write_ct(folder / name, CtSpec(shape=(count, 8, 8), spacing=(step, 2.0, 2.0), tags=tags), own)
    for index in skip:
        files[index].unlink()
    return tags["SeriesInstanceUID"]


def routed_series(run, folder, *options):
    code, out, err = run("--config", "site.toml", "route", folder, "--json", *options)
    assert (code, err) == (0, "")
    [study] = json.loads(out)["studies"]
    return {row["series_description"]: row for row in study["series"]}, study


def test_every_series_has_its_route_and_its_outcome(run, folder):
    series(folder, "hip thin", step=3.0)
    series(folder, "hip thick", step=5.0)
    series(folder, "knee")
    series(folder, "hip with a gap", skip=(7,))
    rows, _ = routed_series(run, folder)
    outcome = {name: (row["outcome"]["state"], row["outcome"]["reason_code"]) for name, row in rows.items()}
    assert outcome == {
        "hip thin": ("queued", ""),
        "hip thick": ("declined", "no-route"),
        "knee": ("declined", "route-declines"),
        "hip with a gap": ("held", "gap"),
    }
    assert rows["hip thin"]["routed"]["route"] == "thin"
    assert rows["hip thin"]["routed"]["destinations"] == ["pacs"]
    assert "is missing between" in rows["hip with a gap"]["whole"]["reason"]
    trials = {trial["route"]: trial for trial in rows["hip thick"]["routes"]}
    assert [c["holds"] for c in trials["thin"]["conditions"]] == [True, True, False]
    assert trials["thin"]["conditions"][2]["found"] == "5"


def test_titles_of_the_association_can_be_given(run, folder, tmp_path):
    series(folder, "hip thick", step=5.0)
    rows, _ = routed_series(run, folder, "--called-ae", "TRIAL")
    routed = rows["hip thick"]["routed"]
    assert (routed["route"], routed["priority"], routed["model"]) == ("trial", 9, str(tmp_path / "models/trial"))
    rows, _ = routed_series(run, folder, "--calling-ae", "UNKNOWN1")
    assert (rows["hip thick"]["outcome"]["state"], rows["hip thick"]["outcome"]["route"]) == ("held", "doubtful")


def test_the_order_of_the_series_of_a_study_has_its_reasons(run, folder, monkeypatch):
    series(folder, "hip sharp", ConvolutionKernel="B70f")
    series(folder, "hip soft", ConvolutionKernel="B30f")
    series(folder, "hip coronal", ConvolutionKernel="B30f", ImageType=["DERIVED", "SECONDARY", "AXIAL"])
    rows, study = routed_series(run, folder)
    [ranking] = study["rankings"]
    assert ranking["route"] == "thin"
    assert [place["description"] for place in ranking["series"]] == ["hip soft", "hip sharp", "hip coronal"]
    assert ranking["series"][1]["why"] == "a soft or standard kernel (B30f) instead of a sharp kernel (B70f)"
    assert {name: row["outcome"]["reason_code"] for name, row in rows.items()} == {
        "hip soft": "", "hip sharp": "not-best", "hip coronal": "not-best"
    }  # fmt: skip
    monkeypatch.setenv("QCT_NODE_INTAKE__SERIES_PER_STUDY", "all")
    rows, _ = routed_series(run, folder)
    assert {row["outcome"]["state"] for row in rows.values()} == {"queued"}
    _, out, _ = run("--config", "site.toml", "route", folder)
    assert 'all are segmented because series_per_study = "all"' in out


def test_the_text_explains_each_condition_and_names_no_patient(run, folder):
    series(folder, "hip thin", AccessionNumber="A-4711")
    series(folder, "hip soft", ConvolutionKernel="B30f")
    series(folder, "lumbar")
    (folder / "notes.txt").write_text("no DICOM")
    code, out, err = run("--config", "site.toml", "route", folder, "--explain")
    assert (code, err) == (0, "")
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == f"study {STUDY}: 3 series"
    for line in (
        "complete: yes",
        "trial does not match",
        "no  called_ae = TRIAL: found QCTNODE",
        "thin matches and decides",
        "yes series_description = *hip*: found hip thin",
        r"yes image_type = *\AXIAL*: found ORIGINAL\PRIMARY\AXIAL",
        "yes max_slice_thickness_mm = 3.5: found 3",
        "no  calling_ae = UNKNOWN*: found nothing",
        "route:    thin accepts the series: priority 0, model from the settings, results go to pacs",
        "result:   the series is segmented",
        "result:   declined (no-route): none of the routes (trial, thin, knees, doubtful) matches it",
        "order of 2 series by thin",
        '1. "hip soft"',
        '2. "hip thin": "hip soft" is better, a soft or standard kernel (B30f) instead of a medium or unknown kernel',
    ):
        assert line in lines, line
    for secret in ("SECRET", "Möller", "Käthe", "19400229", "A-4711"):
        assert secret not in out + err
    _, brief, _ = run("--config", "site.toml", "route", folder)
    assert "image_type" not in brief and "result:   the series is segmented" in brief


def test_without_routes_the_built_in_rule_decides(run, folder):
    series(folder, "hip")
    series(folder, "skull", BodyPartExamined="HEAD")
    code, out, _ = run("route", folder)
    assert code == 0
    assert (
        "route:    the built-in rule accepts the series: priority 0, model from the settings, results go to no peer"
        in out
    )
    assert "result:   declined (not-a-hip): its BodyPartExamined is HEAD, which shows no hip" in out


def test_a_series_that_is_not_ct_and_a_broken_file(run, folder):
    series(folder, "hip")
    broken = next((folder / "hip").iterdir())
    broken.write_bytes(broken.read_bytes()[:-50])
    series(folder, "mr", edit=lambda index, ds: setattr(ds, "Modality", "MR"))
    code, out, _ = run("--config", "site.toml", "route", folder)
    assert code == 0
    assert "result:   declined (not-ct): the modality is MR: only CT is segmented" in out
    assert "not readable: 1 file: the object is broken: its pixel data has 78 of 128 bytes" in out
    code, _, err = run("route", broken)
    assert code == 1 and err.startswith(f"{broken}: none of the 1 DICOM files can be read: the object is broken")


def test_the_same_object_twice_counts_once(run, folder):
    series(folder, "hip")
    (folder / "copy.dcm").write_bytes(next((folder / "hip").iterdir()).read_bytes())
    rows, _ = routed_series(run, folder)
    assert rows["hip"]["objects"] == 40


def test_a_folder_without_dicom_is_one_plain_sentence(run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, err = run("route", tmp_path / "empty")
    assert (code, out, err) == (1, "", f"there is no DICOM file in {tmp_path / 'empty'}\n")
    assert run("route", tmp_path / "absent")[0] == 2


def test_check_looks_for_the_models_of_routes(run, tmp_path, monkeypatch):
    monkeypatch.setenv("QCT_NODE_PEERS", "[]")
    monkeypatch.setenv("QCT_NODE_NODE__DATA", str(tmp_path / "data"))
    (tmp_path / "models.toml").write_text('[[routes]]\nname = "trial"\nmodel = "weights"\n[[routes]]\nname = "rest"\n')
    code, out, err = run("--config", "models.toml", "check")
    assert (
        code == 1 and f"ERROR model of route trial: there are no weights (*.safetensors) in {tmp_path}/weights" in out
    )
    assert err == "failed checks: model of route trial\n"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/fine.safetensors").write_bytes(b"weights")
    code, out, _ = run("--config", "models.toml", "check")
    assert code == 0 and "model of route trial: 1 weight file in" in out
    assert "model of route rest" not in out
