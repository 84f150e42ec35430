"""What must not come into a log."""

import subprocess
import sys

PROGRAM = """
from node.logs import configure_logging, hush_pydicom
{call}()
from pydicom import Dataset
data = Dataset()
data.StudyID = "SECRET-" * 8
data.PatientBirthDate = "SECRET"
data.PatientAge = "SECRET-AGE"
str(data)
"""


def noise_of(call: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout + done.stderr


def test_odd_values_of_a_patient_do_not_come_into_a_log():
    assert "SECRET" in noise_of("print")  # without us pydicom does quote them
    assert noise_of("hush_pydicom") == ""
    assert noise_of("configure_logging") == ""
