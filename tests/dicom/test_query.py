"""The number of images at a peer, queried from Orthanc and from archives that misbehave."""

import socket

import pytest
from find_scp import PENDING, FindScp, holding, match
from orthanc import running_orthanc
from pydicom import Dataset, dcmread
from pynetdicom import AE

from node.errors import PeerError
from node.scu.find import count_images
from node.scu.storage import send_files
from node.settings.routing import Peer

STUDY, SERIES = "1.2.3", "1.2.3.4"


@pytest.fixture
def archive():
    """Start archives with the responses of the test."""
    started = []

    def start(answers):
        started.append(FindScp(answers))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def orthanc(tmp_path, free_port, tool, poll):
    with running_orthanc(tool("Orthanc"), tmp_path / "orthanc", (free_port(), free_port()), poll) as server:
        yield server


def ask(peer, timeout=5.0):
    return count_images(peer, "QCTNODE", STUDY, SERIES, timeout)


def images(asked, count):
    """Answer an IMAGE level query with this number of images, any other without a number."""
    if asked.QueryRetrieveLevel == "SERIES":
        return [match(asked)]
    return [match(asked, SOPInstanceUID=f"{SERIES}.{n}") for n in range(1, count + 1)]


def test_orthanc_reports_its_number_of_images(orthanc, ct_series):
    files = ct_series(slices=7)
    header = dcmread(files[0], stop_before_pixels=True)
    series = header.StudyInstanceUID, header.SeriesInstanceUID
    assert count_images(orthanc.peer, "QCTNODE", *series, 10) == 0
    for arrived in (3, 7):
        assert all(sent.ok for sent in send_files(orthanc.peer, files[:arrived], "QCTNODE"))
        assert count_images(orthanc.peer, "QCTNODE", *series, 10) == arrived
    assert count_images(orthanc.peer, "QCTNODE", series[0], "1.2.3.999", 10) == 0


def test_the_number_in_the_series_response_is_enough(archive):
    pacs = archive(holding(300))
    assert ask(pacs.peer) == 300
    assert pacs.asked == ["SERIES"]


@pytest.mark.parametrize("number", [None, "", "0"])
def test_a_peer_without_the_number_is_queried_for_the_images(archive, number):
    def answers(asked):
        yield from images(asked, 12)

    pacs = archive(answers)
    assert ask(pacs.peer) == 12
    assert pacs.asked == ["SERIES", "IMAGE"]


def test_duplicate_images_and_those_of_other_series_do_not_count(archive):
    def answers(asked):
        yield from images(asked, 5)
        yield from images(asked, 5)
        asked.SeriesInstanceUID = "1.2.3.5"
        yield from images(asked, 9)

    assert ask(archive(answers).peer) == 5


def test_only_the_queried_series_of_a_study_counts(archive):
    def answers(asked):
        for uid, count in (("1.2.3.3", 900), (SERIES, 30), ("1.2.3.5", 800)):
            yield match(asked, SeriesInstanceUID=uid, NumberOfSeriesRelatedInstances=count)

    assert ask(archive(answers).peer) == 30


def test_an_unknown_series_has_no_images(archive):
    assert ask(archive(lambda asked: iter(())).peer) == 0


def test_a_peer_with_neither_number_nor_images_gives_no_number(archive):
    def answers(asked):
        if asked.QueryRetrieveLevel == "SERIES":
            yield match(asked)

    assert ask(archive(answers).peer) is None


def test_a_failure_is_reported_with_its_status(archive):
    def answers(asked):
        yield 0xA700, None

    with pytest.raises(PeerError, match="answered C-FIND with status 0xA700"):
        ask(archive(answers).peer)


def test_a_query_that_breaks_off_is_a_failure(archive):
    def answers(asked):
        yield match(asked)
        raise ValueError("broken")

    with pytest.raises(PeerError, match="answered C-FIND with status 0xC"):
        ask(archive(answers).peer)


def test_a_peer_that_sends_responses_without_end_is_aborted(archive, monkeypatch):
    monkeypatch.setattr("node.scu.find.MAX_MATCHES", 50)

    def answers(asked):
        while True:
            yield match(asked)

    with pytest.raises(PeerError, match="more than 50 matches"):
        ask(archive(answers).peer)


def test_a_peer_that_stops_responding_times_out(archive, poll):
    release = []

    def answers(asked):
        poll(lambda: release, 20, "the end of the test")
        yield match(asked)

    pacs = archive(answers)
    with pytest.raises(PeerError, match="did not answer C-FIND in time") as failure:
        ask(pacs.peer, timeout=0.5)
    assert failure.value.retry
    release.append(True)


def test_a_peer_that_closes_the_connection_has_not_answered(archive):
    def hang_up(event):
        event.assoc.abort()
        yield PENDING, Dataset()

    pacs = archive(holding(1))
    pacs.handle(hang_up)
    with pytest.raises(PeerError, match="did not answer C-FIND"):
        ask(pacs.peer)


def test_an_absent_peer_and_one_without_c_find_are_distinguished(free_port):
    absent = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=free_port())
    with pytest.raises(PeerError, match="nothing listens there"):
        ask(absent)
    ae = AE("PACS")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        with pytest.raises(PeerError, match="accepts none of the offered SOP classes"):
            ask(absent.model_copy(update={"port": server.server_address[1]}))
    finally:
        server.shutdown()


def test_a_host_that_never_answers_times_out():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        peer = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=mute.getsockname()[1])
        with pytest.raises(PeerError, match="does not answer the association request"):
            ask(peer, timeout=0.5)
