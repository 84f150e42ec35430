"""What must not appear in a log."""

import logging
import subprocess
import sys

from node.logs import OneLineFormatter

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
