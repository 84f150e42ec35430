"""What must not appear in a log."""

import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import closing

from node.logs import KindLimit, LossyStream, OneLineFormatter

PROGRAM = """
from node.logs import configure_logging, silence_pydicom
{call}()
from pydicom import Dataset
data = Dataset()
data.StudyID = "SECRET-" * 8
data.PatientBirthDate = "SECRET"
data.PatientAge = "SECRET-AGE"
str(data)
"""


def output_of(call: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout + done.stderr


def test_invalid_values_of_a_patient_do_not_appear_in_a_log():
    assert "SECRET" in output_of("print")  # without `silence_pydicom` pydicom quotes them
    assert output_of("silence_pydicom") == ""
    assert output_of("configure_logging") == ""


def test_control_characters_are_escaped():
    formatter = OneLineFormatter("%(levelname)s: %(message)s")
    record = logging.makeLogRecord({"levelname": "INFO", "msg": "it said %s", "args": ("a\nINFO: b\x1b[2J\r\u2028ü",)})
    assert formatter.format(record) == r"INFO: it said a\nINFO: b\x1b[2J\r\u2028ü"


def test_a_traceback_keeps_its_lines():
    try:
        raise ValueError("ours")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    assert OneLineFormatter().format(record).startswith("failed\nTraceback (most recent call last):\n")


def test_pynetdicom_logs_nothing_about_malformed_requests():
    program = """
from node.logs import configure_logging
configure_logging()
from node.dicom.association_request import decode_association_request
from node.dicom.pdu import ProtocolError
for body in (b"\\0\\1\\0\\0" + b"\\xd1VIL".ljust(16), b"\\0\\1\\0\\0" + b"E\\nVIL".ljust(16) * 2 + bytes(35)):
    try:
        decode_association_request(body)
    except ProtocolError:
        continue
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""


def test_a_log_that_nobody_reads_blocks_nobody_and_tells_how_much_is_lost():
    reader, writer = os.pipe()
    with closing(os.fdopen(reader, "rb", buffering=0)) as log, closing(os.fdopen(writer, "wb")):
        stream = LossyStream(writer)
        begun = time.monotonic()
        for number in range(5000):
            stream.write(f"line {number:04d} {'x' * 90}\n")
        assert time.monotonic() - begun < 5
        taken = log.read(1 << 20).decode()
        kept = [line for line in taken.splitlines() if line.startswith("line ") and line.endswith("x" * 90)]
        assert 500 < len(kept) < 1000 and kept[0].startswith("line 0000")
        stream.write("afterwards\n")
        said = log.read(1 << 20).decode()
    assert said == f"\n{5000 - len(kept)} lines of this log are lost: nobody read it\nafterwards\n"


def test_a_line_longer_than_a_pipe_takes_at_once_is_written_whole_if_it_is_read():
    program = "import sys; from node.logs import LossyStream; LossyStream(2).write('x' * 300_000 + '\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "x" * 300_000 + "\n"


def test_a_log_whose_reader_is_gone_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    with closing(os.fdopen(writer, "wb")):
        LossyStream(writer).write("a line\n")


def passed(limit, *messages, name="node.scp.storage"):
    records = [
        logging.makeLogRecord({"name": name, "msg": message, "args": tuple(arguments)})
        for message, *arguments in messages
    ]
    return [record.getMessage() for record in records if limit.filter(record)]


def test_of_each_kind_only_some_records_pass():
    limit = KindLimit(3)
    said = passed(limit, *((("refused: %s", number)) for number in range(50)), ("listening",))
    assert said == ["refused: 0", "refused: 1", "refused: 2", "listening"]
    assert passed(limit, ("refused: %s", 51), name="node.scp.acceptor") == ["refused: 51"]


def test_what_was_left_out_is_told_with_the_next_record(poll):
    limit = KindLimit(3, seconds=0.2)
    passed(limit, *((("refused: %s", number)) for number in range(50)))
    time.sleep(0.2)
    [said] = passed(limit, ("listening on %s", "x"))
    assert said.startswith("listening on x (and 47 more records like some before were left out within")
    assert passed(limit, ("refused: %s", 51)) == ["refused: 51"]


def test_invented_kinds_are_one_kind():
    limit = KindLimit(3)
    assert len(passed(limit, *((f"message {number}",) for number in range(2000)))) == 1000 + 3


def test_threads_that_log_at_the_turn_of_the_minute_do_no_harm():
    limit, faults = KindLimit(3, seconds=0.0), []

    def log():
        try:
            passed(limit, *((f"message {number % 900}",) for number in range(5000)))
        except RuntimeError as fault:
            faults.append(fault)

    limit._counts.update({("other", 0, str(number)): 1 for number in range(900)})
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=log) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert not faults
