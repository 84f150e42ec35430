"""The queue page in a headless browser."""

import threading
from datetime import timedelta

import pytest
import uvicorn
from browser import running_browser
from ledger_steps import finish_job
from PIL import Image
from senders import association

from node.ledger import Ledger
from node.records.instances import Arrival, Header
from node.records.jobs import Decision, Refusal
from node.records.results import Result
from node.records.states import JobState
from node.settings.settings import load_settings
from node.web.app import make_app

CT = "1.2.840.10008.5.1.4.1.1.2"
SERIES = "1.2.826.0.1.3680043.10.77"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with running_browser(tmp_path_factory.mktemp("browser"), "--disable-gpu") as window:
        yield window


@pytest.fixture
def settings(tmp_path):
    return load_settings(None, node={"data": tmp_path / "data", "ae_title": "HIPNODE"})


@pytest.fixture
def ledger(settings):
    opened = Ledger.of(settings)
    for part in ("scp", "supervisor", "worker-segment", "worker-deliver"):
        opened.processes.report(f"{part}@host:1", part, "host", 1)
    yield opened
    opened.close()


@pytest.fixture
def serve(browser, settings, ledger, free_port, poll):
    """Return a function that serves the page on one port; the server it returns can be stopped."""
    port = free_port()
    running = []

    def start():
        server = uvicorn.Server(uvicorn.Config(make_app(settings), port=port, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        poll(lambda: server.started, what="the page's server")
        return f"http://127.0.0.1:{port}"

    def stop():
        while running:
            server, thread = running.pop()
            server.should_exit = True
            thread.join()

    start.stop = stop
    yield start
    browser.open("about:blank")
    stop()


@pytest.fixture
def arrive(ledger, settings):
    """Record slices of a series; return the id of its job."""

    def series(number, slices=1, **header):
        uid = f"{SERIES}.{number}"
        described = {"modality": "CT", "body_part": "HIP", "series_description": f"Hip {number}"} | header
        for index in range(slices):
            ledger.instances.record(
                Arrival(
                    header=Header(f"{SERIES}.0", uid, f"{uid}.{index}", CT, **described),
                    transfer_syntax="1.2.840.10008.1.2.1",
                    key=f"inbox/{uid}.{index}.dcm",
                    sha256=f"{number:032d}{index:032d}",
                    size=500_000,
                    association=association("CT1", "10.0.0.9"),
                )
            )
        return ledger.queries.jobs(search=uid)[0].id

    return series


@pytest.fixture
def every_state(ledger, settings, arrive):
    """A queue with a job in every state; return the id of a delivered job."""
    arrive(1, 37, accession="A-2026-0117")
    declined = arrive(2, 2, series_description="Scout", body_part="")
    localiser = Decision(JobState.DECLINED, "localiser", "it is a localiser (ImageType LOCALIZER)")
    ledger.decisions.apply(declined, localiser)
    held = arrive(3, 30)
    gap = "a slice is missing between z=-120.0 and z=-124.0 mm; send it or release the job"
    ledger.decisions.apply(held, Decision(JobState.HELD, "gap", gap))
    ids = [arrive(number, 40) for number in (4, 5, 6, 7)]
    for job_id in ids:
        ledger.decisions.apply(job_id, Decision(JobState.COMPLETE))
        ledger.decisions.apply(job_id, Decision(JobState.QUEUED, destinations=("pacs", "research")))
    _, running, delivering, delivered = ids
    worker = "worker-segment@gpu1:4711"
    for job_id in (running, delivering, delivered):
        ledger.queue.claim(job_id, worker, 30)
    ledger.queue.extend_lease(running, worker, 30, "segment")
    for job_id in (delivering, delivered):
        folder = settings.data / "results" / job_id
        folder.mkdir(parents=True)
        Image.radial_gradient("L").resize((640, 420)).save(folder / "overlay.png")
        for name in ("seg.dcm", "report.json"):
            (folder / name).write_bytes(b"{}")
        made = [
            Result(
                "seg",
                f"results/{job_id}/seg.dcm",
                "5e" * 32,
                812_345,
                "1.2.840.10008.5.1.4.1.1.66.4",
                f"{SERIES}.{job_id[-1:]}9",
            ),
            Result("picture", f"results/{job_id}/overlay.png", "0a" * 32, 65_000),
            Result("report", f"results/{job_id}/report.json", "77" * 32, 2_100),
        ]
        timings = {"read": 1.21, "locate": 2.4, "segment": 11.73, "write": 0.9, "check": 0.66}
        finish_job(ledger, job_id, worker, made, {"timings": timings})
    for row in ledger.queries.job(delivered).deliveries:
        assert ledger.outbox.claim(row.id, "deliver@gpu1:12", 60)
        ledger.outbox.delivered(row.id, "deliver@gpu1:12")
    for row in ledger.queries.job(delivering).deliveries[:1]:
        assert ledger.outbox.claim(row.id, "deliver@gpu1:12", 60)
        late = ledger.now() + timedelta(minutes=1)
        ledger.outbox.failed(row.id, "deliver@gpu1:12", "pacs at 10.0.0.2:104 refuses connections", next_at=late)
    empty = Refusal("HEALTHCHK", "10.0.0.3", "empty-association", "the association carried no object")
    ledger.decisions.record_refusal(empty)
    return delivered


def test_a_new_study_appears_without_a_reload(browser, serve, arrive, poll):
    browser.resize(1280, 900)
    browser.open(serve())
    assert "No study has arrived yet" in browser.text()
    browser.run("window.sameDocument = true")
    job_id = arrive(8, 3, series_description="<script>document.title='owned'</script>")
    poll(lambda: "Received" in browser.text("#studies"), what="the study on the page")
    assert "<script>document.title='owned'</script>" in browser.text(f"[data-job='{job_id}']")
    assert browser.run("return document.title") == "All studies · HIPNODE"
    arrive(9, 1)
    poll(lambda: "All 2" in " ".join(browser.text("#counts").split()), what="the second study in the counts")
    assert browser.run("return window.sameDocument") is True


def test_focus_and_selection_are_kept(browser, serve, arrive, poll):
    job_id = arrive(1)
    browser.open(serve())
    browser.run(f"document.querySelector(`a[href='/jobs/{job_id}']`).focus()")
    arrive(2)
    poll(lambda: "Hip 2" in browser.text("#studies"))
    assert browser.run("return document.activeElement.getAttribute('href')") == f"/jobs/{job_id}"
    browser.run("getSelection().selectAllChildren(document.querySelector('#studies .uid'))")
    arrive(3)
    poll(lambda: "All 3" in " ".join(browser.text("#counts").split()))
    assert "Hip 3" not in browser.text("#studies")
    browser.run("getSelection().removeAllRanges()")
    poll(lambda: "Hip 3" in browser.text("#studies"), what="the third study once nothing is selected")


def test_the_page_reports_a_stopped_node_until_it_is_back(browser, serve, poll):
    browser.open(serve())
    lost = "return document.getElementById('lost').checkVisibility()"
    assert browser.run(lost) is False
    serve.stop()
    poll(lambda: browser.run(lost), what="the notice that the node does not answer")
    serve()
    poll(lambda: not browser.run(lost), what="the end of the notice")


def test_the_page_reloads_without_scripts(browser, serve, arrive, poll):
    browser.allow_scripts(False)
    try:
        browser.open(serve())
        assert "No study has arrived yet" in browser.text()
        arrive(1)
        poll(lambda: "Received" in browser.text(), what="the study after a reload")
    finally:
        browser.allow_scripts(True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_is_legible(browser, serve, every_state, tmp_path, width, scheme):
    browser.resize(width, 900 if width > 600 else 844)
    browser.prefer(scheme)
    browser.console()  # discard messages of earlier pages
    address = serve()
    for page in ("/", f"/jobs/{every_state}"):
        browser.open(address + page)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run(LOW_CONTRAST) == []
        browser.picture(tmp_path / f"{page.strip('/').replace('/', '-') or 'queue'}-{width}-{scheme}.png")
        assert [entry["message"] for entry in browser.console() if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_health_problem_is_shown_and_fits(browser, serve, ledger, width):
    for process in ledger.processes.all():
        ledger.processes.remove(process.name)
    browser.resize(width, 844)
    browser.open(serve())
    assert "the segmenting worker has never reported; the delivering worker" in browser.text("#health")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_a_filter_a_search_and_a_job_are_links_and_forms(browser, serve, every_state, poll):
    browser.resize(1280, 900)
    browser.open(serve())
    browser.click("a[href='/?state=held']")
    poll(lambda: "a slice is missing between" in browser.text() and "Scout" not in browser.text())
    browser.open(browser.run("return location.origin"))
    browser.run("document.querySelector('[name=q]').value = 'A-2026'; document.forms[0].requestSubmit()")
    poll(lambda: "Accession A-2026-0117" in browser.text() and "Scout" not in browser.text())
    browser.open(browser.run("return location.origin") + f"/jobs/{every_state}")
    assert browser.run("return document.querySelector('img.picture').naturalWidth") == 640
    assert "11.73" in browser.text()


# Text whose contrast with its background is below WCAG 2.2 AA (1.4.3): 4.5 to 1.
LOW_CONTRAST = """
const channels = colour => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
};
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = channels(getComputedStyle(e).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return [255, 255, 255, 255];
};
const low = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.checkVisibility() || element.tagName === "SCRIPT") continue;
  const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) low.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
}
return [...new Set(low)];
"""
