"""The demo: following jobs, checking their end, finding the truth masks, and printing the results."""

import importlib
import io
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

DEMO = Path(__file__).parents[3] / "deploy/demo"


@pytest.fixture
def module(monkeypatch):
    """Import a module of the demo from the folder of its script, as the demo does."""
    monkeypatch.syspath_prepend(str(DEMO))
    yield importlib.import_module
    for name in ("demo", "follow", "result", "score"):
        sys.modules.pop(name, None)


@pytest.fixture
def paper():
    """A console that is not a terminal."""
    return Console(file=io.StringIO(), width=120)


def job(state, reason="", **values):
    return {
        "id": "j1",
        "state": state,
        "reason": reason,
        "reason_code": "",
        "instances": 72,
        "stage": "",
        "received_at": "2026-03-01T12:00:00.000Z",
        "outputs": [],
        "stages": {},
        "deliveries": [],
        "events": [],
    } | values


def test_lines_are_printed_when_something_changes(module, paper, monkeypatch):
    follow = module("follow")
    monkeypatch.setattr(follow, "PERIOD_S", 0.0)
    steps = [
        [],
        [job("received", instances=70)],
        [job("received")],
        [job("running", stage="segment")],
        [job("running", stage="segment")],
        [job("delivered")],
    ]
    answers = iter(steps)
    assert follow.follow(lambda: next(answers), paper, 10) == steps[-1]
    lines = [line[9:] for line in paper.file.getvalue().splitlines()]
    assert lines == [
        "job j1, 70 objects: received",
        "job j1, 72 objects: received",
        "job j1, 72 objects: running (segment)",
        "job j1, 72 objects: delivered",
    ]


def test_a_terminal_gets_bars(module, monkeypatch):
    follow = module("follow")
    monkeypatch.setattr(follow, "PERIOD_S", 0.0)
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    follow.follow(lambda: [job("declined", "it is a localiser")], screen, 10)
    assert "declined: it is a localiser" in screen.file.getvalue()


def test_all_jobs_must_end(module, paper, monkeypatch):
    follow = module("follow")
    monkeypatch.setattr(follow, "PERIOD_S", 0.0)
    with pytest.raises(TimeoutError, match="has not finished within 0 s"):
        follow.follow(lambda: [job("delivered"), job("queued", id="j2")], paper, 0.05)


@pytest.mark.parametrize(
    ("jobs", "sentence"),
    [
        ([job("failed", "its worker died 3 times")], "The study failed: its worker died 3 times"),
        ([job("declined", "it is an MR series")], "The study was declined: it is an MR series"),
        ([job("held", "a slice is missing")], "The study was held: a slice is missing"),
        ([job("delivered"), job("held", "a slice is missing")], "The study was held: a slice is missing"),
        ([job("declined", "a localiser"), job("failed", "no model")], "The study failed: no model"),
    ],
)
def test_a_study_without_a_result_is_one_sentence(module, jobs, sentence):
    demo = module("demo")
    with pytest.raises(demo.DemoError) as caught:
        demo.check_outcome(jobs, [Path("seg.dcm")])
    assert str(caught.value) == sentence


def test_a_localiser_beside_the_scan_is_allowed_but_a_missing_segmentation_is_not(module):
    demo = module("demo")
    jobs = [job("declined", "a localiser"), job("delivered")]
    demo.check_outcome(jobs, [Path("seg.dcm")])
    with pytest.raises(demo.DemoError, match="the archive contains no segmentation"):
        demo.check_outcome(jobs, [])
    nothing = job("delivered", "there is no proximal femur in the scan", reason_code="no-femur")
    with pytest.raises(demo.DemoError, match="No femur was segmented: there is no proximal femur in the scan"):
        demo.check_outcome([nothing], [])


@pytest.mark.parametrize("where", ["case", "case/dicom"])
def test_a_mask_in_or_beside_the_folder_is_the_truth(module, tmp_path, where):
    demo = module("demo")
    folder = tmp_path / "case/dicom"
    folder.mkdir(parents=True)
    assert demo.truth_masks(folder, tmp_path) == {}
    mask = tmp_path / where / "femur_mask.nii.gz"
    mask.touch()
    assert demo.truth_masks(folder, tmp_path) == {"": mask}


def test_a_web_proxy_in_the_environment_is_not_used(module, monkeypatch):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'["here"]')

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    demo = module("demo")
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            assert demo.get_json(demo.Node("127.0.0.1:1", "AET", address), "/api/jobs") == ["here"]
        finally:
            server.shutdown()


def test_a_server_that_does_not_start_is_reported_with_the_reason(module, tmp_path):
    demo = module("demo")
    log = tmp_path / "log"
    script = "import sys; sys.stderr.write('first\\nthe port is taken\\n')"
    with (
        pytest.raises(demo.DemoError, match=r"The archive did not start: the port is taken \(log: "),
        demo.running("archive", [sys.executable, "-c", script], log),
    ):
        pytest.fail("it started")


def test_the_steps_are_printed_with_their_times(module, paper, tmp_path):
    result = module("result")
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"femurs": [], "calibration": {"mode": "none"}}))
    at = {"received": 0, "complete": 4, "queued": 4, "running": 5, "delivering": 21, "delivered": 22}
    done = job(
        "delivered",
        stages={"read": 1.25, "segment": 14.0},
        deliveries=[{"peer": "demo-archive", "state": "delivered"}] * 3,
        events=[{"state": state, "at": f"2026-03-01T12:00:{second:02d}.000Z"} for state, second in at.items()],
        outputs=[str(report), "/data/overlay.png"],
    )
    result.show(paper, [done], [], {})
    text = paper.file.getvalue()
    for step, seconds in (
        ("received 72 objects and waited for more", "4.0"),
        ("waited for a worker", "1.0"),
        ("segmented", "16.0"),
        ("segment", "14.0"),
        ("delivered by C-STORE to demo-archive", "1.0"),
    ):
        assert any(step in line and f" {seconds} " in line for line in text.splitlines()), text
    assert "picture: /data/overlay.png" in text
    assert "not calibrated, HU only" in text
    assert text.count("demo-archive") == 1


def test_densities_are_printed_beside_the_known_ones(module, paper, tmp_path):
    report, known = tmp_path / "report.json", tmp_path / "truth.json"
    femurs = [{"side": side, "vbmd_mg_cm3": vbmd} for side, vbmd in (("left", 301.26), ("right", 299.0))]
    calibration = {"mode": "phantom", "equivalent_material": "HA", "phantom": "slab", "r2": 0.99991}
    report.write_text(json.dumps({"femurs": femurs, "calibration": calibration}))
    known.write_text(json.dumps({"femora": {"left": {"integral_vbmd_mg_cm3": 305.1}, "right": {"state": "replaced"}}}))
    done = job("delivered", stages={}, deliveries=[], events=[], outputs=[str(report)])
    module("result").show(paper, [done], [], {}, known)
    text = paper.file.getvalue()
    assert "mg/cm3 HA" in text and "slab" in text and "0.9999" in text
    assert any("left" in line and "301.3" in line and "305.1" in line for line in text.splitlines())
    assert any("right" in line and "299.0" in line and "305" not in line for line in text.splitlines())


@pytest.mark.parametrize("name", ["scan.zip", "picture.jpg"])
def test_a_study_without_dicom_files_is_told_before_anything_starts(module, tmp_path, name):
    demo = module("demo")
    (tmp_path / name).write_bytes(b"no DICOM")
    with pytest.raises(demo.DemoError, match=f"holds no DICOM files \\(found: {Path(name).suffix}\\)"):
        demo.require_dicom(tmp_path)
