"""Calibration by a scanner's certificate, without a phantom in the scan."""

from datetime import date

from segmenter.density.calibration import Calibration, CalibrationMode, uncalibrated
from segmenter.density.scanner import Scanner, same
from segmenter.density.settings import AsynchronousSettings

KVP_TOLERANCE = 0.5


def by_certificate(certificates: tuple[AsynchronousSettings, ...], scanner: Scanner) -> Calibration:
    """Return the calibration by the one certificate that fits; otherwise mode NONE with the reason.

    A certificate for the kernel is preferred to one for all kernels. Dates are compared with the date of the scan.
    """
    fitting = [certificate for certificate in certificates if _fits(certificate, scanner)]
    exact = [certificate for certificate in fitting if certificate.kernel] or fitting
    if not exact:
        return uncalibrated(
            f"no certificate fits the scanner {_name(scanner)} at {scanner.kvp or 0:g} kV, kernel {scanner.kernel!r}"
        )
    if len(exact) > 1:
        return uncalibrated(
            f"{len(exact)} certificates fit the scanner {_name(scanner)} at {scanner.kvp or 0:g} kV: keep one of them"
        )
    (certificate,) = exact
    return Calibration(
        CalibrationMode.ASYNCHRONOUS,
        certificate.equivalent_material,
        certificate.slope_hu_per_mg_cm3,
        certificate.intercept_hu,
        certificate_date=certificate.certificate_date.isoformat(),
        warnings=validity(certificate.certificate_date, certificate.valid_until, scanner.scan_date),
    )


def validity(issued: date, valid_until: date, scanned: date | None) -> tuple[str, ...]:
    """Return warnings about the date of a scan under a certificate."""
    if scanned is None:
        return ("the scan has no date: whether the scanner's calibration certificate was valid is unknown",)
    if scanned > valid_until:
        return (f"the scanner's calibration certificate expired on {valid_until}, before the scan",)
    if scanned < issued:
        return (f"the scanner's calibration certificate of {issued} was issued after the scan",)
    return ()


def _fits(certificate: AsynchronousSettings, scanner: Scanner) -> bool:
    given = (
        (certificate.manufacturer, scanner.manufacturer),
        (certificate.model, scanner.model),
        (certificate.station_name, scanner.station_name),
        (certificate.device_serial, scanner.device_serial),
        (certificate.kernel, scanner.kernel),
    )
    voltage = scanner.kvp is not None and abs(scanner.kvp - certificate.kvp) <= KVP_TOLERANCE
    return voltage and all(same(wanted, found) for wanted, found in given if wanted)


def _name(scanner: Scanner) -> str:
    return " ".join(filter(None, (scanner.manufacturer, scanner.model, scanner.station_name))) or "without a name"
