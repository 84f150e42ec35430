"""Words of a sender in reasons, on the terminal and in the log."""

import io
import logging
import sys

import pytest
from ledger_steps import Clock, only_job, queued_job

from node.cli import main
from node.ledger import Ledger
from node.logs import LINE_MAX, OneLineFormatter
from node.plain_text import SENTENCE_MAX, PrintableStream, printable, sentence
from node.records.jobs import Decision, Refusal
from node.records.states import JobState
from segmenter.errors import Reason, SegmenterError

EVIL = "a\x1b]0;owned\x07\x1b[2J\r\nb\u202ec\u2066\x9b31m" + "x" * 60_000
HARMFUL = ("\x1b", "\x07", "\r", "\u202e", "\u2066", "\x9b")


def is_harmless(text):
    return not any(mark in text for mark in HARMFUL)


def test_what_is_not_printable_is_escaped_and_words_of_any_language_stay():
    assert printable("Hüfte 大腿 \x1b[2J\n") == "Hüfte 大腿 \\x1b[2J\\n"


@pytest.mark.parametrize("text", [EVIL, "\x1b" * 400, "y" * 501])
def test_a_sentence_is_short(text):
    assert len(sentence(text)) == SENTENCE_MAX and sentence(text).endswith("...")
    assert sentence("y" * 500) == "y" * 500


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("QCT_NODE_NODE__DATA", str(tmp_path))
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3", tmp_path, Clock())
    yield opened
    opened.close()


def test_every_reason_and_event_that_is_stored_is_a_plain_sentence(ledger, capsys):
    job_id = queued_job(ledger)
    ledger.queue.claim(job_id, "w", 30)
    ledger.queue.stop(job_id, "w", Decision(JobState.HELD, "not-hu", EVIL))
    ledger.decisions.record_refusal(Refusal("AE", "10.0.0.1", "broken-object", EVIL))
    for job in ledger.queries.jobs():
        assert is_harmless(job.reason) and len(job.reason) <= SENTENCE_MAX
        for event in ledger.queries.events(job.id):
            assert is_harmless(event.text) and len(event.text) <= SENTENCE_MAX


def test_a_delivery_that_failed_quotes_its_peer_harmlessly(ledger):
    job_id = queued_job(ledger)
    with ledger.database.write() as connection:
        ledger.database.note(connection, job_id, "delivering", EVIL)
    assert is_harmless(ledger.queries.events(job_id)[-1].text)


@pytest.mark.parametrize("command", [("jobs",), ("show", "ID"), ("jobs", "--json"), ("show", "ID", "--json")])
def test_the_terminal_is_not_controlled_by_what_is_in_the_ledger(ledger, capsys, command):
    queued_job(ledger)
    with ledger.database.write() as connection:  # as an older version stored it
        connection.exec_driver_sql("UPDATE jobs SET reason = ?", (EVIL[:200],))
        connection.exec_driver_sql("UPDATE series SET series_description = ?", (EVIL[:60],))
        connection.exec_driver_sql("UPDATE events SET text = ?", (EVIL[:200],))
    main([only_job(ledger).id if word == "ID" else word for word in command])
    out = capsys.readouterr().out
    assert "owned" in out and is_harmless(out)


def test_a_stream_keeps_lines_and_tabs():
    stream = io.StringIO()
    PrintableStream(stream).write("a\tb\n\x1bc\n")
    assert stream.getvalue() == "a\tb\n\\x1bc\n"


def test_a_line_of_the_log_is_not_longer_than_its_limit_and_tracebacks_are_escaped():
    formatter = OneLineFormatter("%(message)s")
    assert len(formatter.format(logging.makeLogRecord({"msg": EVIL}))) == LINE_MAX
    try:
        raise ValueError(EVIL)
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    text = formatter.format(record)
    assert is_harmless(text) and max(map(len, text.split("\n"))) <= LINE_MAX


def test_a_refusal_of_the_segmenter_is_printable():
    assert is_harmless(str(SegmenterError(Reason.NOT_HU, EVIL)))
