"""The patient's age by the header, as far as it says that the patient is a child."""

import re
from datetime import date, datetime
from typing import Any

from pydicom.dataset import Dataset

ADULT_YEARS = 18
PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}  # PS3.5 6.2, AS
CHILD = (
    "the header says that the patient is younger than 18 years: the networks and the measurements are made for adults, "
    "so outline, regions and densities cannot be relied on"
)


def child_warning(header: Dataset) -> tuple[str, ...]:
    """Return the warning of a scan of a child; empty for an adult, or when the header does not say. No age is in it."""
    years = age_years(header)
    return (CHILD,) if years is not None and years < ADULT_YEARS else ()


def age_years(header: Dataset) -> float | None:
    """Return the age by Patient's Age, otherwise by birth date and study date; None where they give none."""
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", _text(header, "PatientAge"))
    if stated:
        return int(stated[1]) / PER_YEAR[stated[2]]
    born, scanned = (_date(_text(header, keyword)) for keyword in ("PatientBirthDate", "StudyDate"))
    if born is None or scanned is None or scanned < born:
        return None
    return (scanned - born).days / PER_YEAR["D"]


def _text(header: Dataset, keyword: str) -> str:
    """Return a value as text; empty where it is absent, repeated or cannot be read."""
    try:
        value: Any = header.get(keyword)
    except (ValueError, NotImplementedError):
        return ""
    return "" if value is None else str(value).strip()


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None
