"""`cases.csv`, the list of the cases. Columns `case` and `sex`; optional `group`, `stratum` and `synthetic`."""

import csv
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

LISTING = "cases.csv"
REQUIRED = {"case", "sex"}
OPTIONAL = {"group", "stratum", "synthetic"}
YES, NO = {"yes", "true", "1"}, {"", "no", "false", "0"}


class Sex(StrEnum):
    """A case's sex as written in `cases.csv`."""

    FEMALE = "F"
    MALE = "M"


@dataclass(frozen=True)
class Listed:
    """The row of one case.

    group: cases of one group (one person scanned twice, one family of synthetic shapes) are never on both sides of a
    split; a case without a group forms its own. stratum: a further division for the figures, may be empty.
    """

    sex: Sex
    group: str
    stratum: str = ""
    synthetic: bool = False


def read_listing(folder: Path) -> tuple[dict[str, Listed], list[str]]:
    """Return the cases by name and the faults of the list, one sentence each."""
    try:
        with (folder / LISTING).open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            columns = {name.strip() for name in reader.fieldnames or []}
            rows = [{k.strip(): (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in reader]
    except OSError:
        return {}, [f"{LISTING} is missing in {folder}: it needs the columns case and sex"]
    except (csv.Error, UnicodeDecodeError):
        return {}, [f"{LISTING} is not a table of comma-separated values in UTF-8"]
    if missing := REQUIRED - columns:
        return {}, [f"{LISTING} must have the columns case and sex, it lacks {' and '.join(sorted(missing))}"]
    faults = [f"{LISTING} has an unknown column {name!r}" for name in sorted(columns - REQUIRED - OPTIONAL)]
    listing: dict[str, Listed] = {}
    for number, row in enumerate(rows, 2):
        if row["case"] in listing:
            faults.append(f"{row['case']}: {LISTING} lists it twice, again in line {number}")
        elif fault := _fault(row):
            faults.append(f"{row['case'] or f'line {number}'}: {fault}")
        else:
            listing[row["case"]] = _listed(row)
    return listing, faults


def _fault(row: dict[str, str]) -> str | None:
    if not row["case"] or Path(row["case"]).name != row["case"]:
        return "the column case must be the name of a folder"
    if row["sex"].upper() not in set(Sex):
        return f"sex must be F or M, it is {row['sex']!r}"
    if row.get("synthetic", "").lower() not in YES | NO:
        return f"synthetic must be yes or no, it is {row['synthetic']!r}"
    return None


def _listed(row: dict[str, str]) -> Listed:
    # Keeps a group and a case of the same name apart.
    group = f"group {row['group']}" if row.get("group") else f"case {row['case']}"
    synthetic = row.get("synthetic", "").lower() in YES
    return Listed(Sex(row["sex"].upper()), group, row.get("stratum", ""), synthetic)
