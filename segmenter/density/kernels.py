"""Reconstruction kernels by their names: whether a scan has that of a certificate, and which are known to be sharp."""

import re

# A sharp kernel overshoots at the cortex, and a femur comes out 9 to 14 % too dense (docs/evidence/density-truth.md).
# The names are those of Siemens (a number from 50 on: B60s, Br59f, Hr64), GE, Canon (FC) and Philips; what several
# makers call sharp, and the synthetic patients.
SHARP = re.compile(
    r"""
    [A-Z][A-Z]?(?:[5-9]\d|1\d\d)[A-Z]{0,2} | FC(?:3|5|8)\d |
    .*(?:BONE|LUNG|EDGE|SHARP|ULTRA|INNER\ ?EAR|HIGH\ ?RES).* | D|E|F|L|YC|YD|YE
    """,
    re.VERBOSE,
)


def same_kernel(wanted: str, found: str) -> bool:
    """Return whether a scan has the kernel of a certificate, ignoring case and spaces.

    Some scanners add the strength of a noise reduction as a second value, such as Br38f and 3: a certificate that
    names the kernel alone holds for every strength, one that names both for this strength only.
    """
    needed, given = _values(wanted), _values(found)
    return bool(needed) and needed == given[: len(needed)]


def is_sharp(kernel: str) -> bool:
    """Return whether a kernel of this name, as in the header, is known to be sharp."""
    return bool(SHARP.fullmatch(_values(kernel)[0]))


def _values(kernel: str) -> list[str]:
    return [" ".join(value.upper().split()) for value in kernel.split("\\")]
