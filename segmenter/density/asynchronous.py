"""Calibration by a scanner's certificate, without a phantom in the scan."""

from datetime import date

from segmenter.density.calibration import Calibration, CalibrationMode, uncalibrated
from segmenter.density.kernels import is_sharp, same_kernel
from segmenter.density.scanner import Scanner, same
from segmenter.density.settings import AsynchronousSettings
from segmenter.read.image_kind import ImageKind

KVP_TOLERANCE = 0.5
KEV_TOLERANCE = 0.5
NO_KERNEL = (
    "the scanner's calibration certificate names no kernel: whether it was measured with that of the scan is unknown, "
    "and a sharper kernel raises the density of bone"
)
NEAREST = 2  # certificates that are named when none fits


def by_certificate(certificates: tuple[AsynchronousSettings, ...], scanner: Scanner) -> Calibration:
    """Return the calibration by the one certificate that fits; otherwise mode NONE with the reason.

    A certificate for the kernel is preferred to one that names none. Dates are compared with the date of the scan.
    """
    fitting = [certificate for certificate in certificates if not _differences(certificate, scanner)]
    most = max((len(certificate.kernel) for certificate in fitting), default=0)
    exact = [certificate for certificate in fitting if len(certificate.kernel) == most]
    if not exact:
        return uncalibrated(_nothing_fits(certificates, scanner))
    if len(exact) > 1:
        return uncalibrated(
            f"{len(exact)} certificates fit this scan: {', '.join(map(_name, exact[:NEAREST]))}; keep one of them"
        )
    (certificate,) = exact
    if not certificate.kernel and scanner.kernel and is_sharp(scanner.kernel):
        return uncalibrated(
            f"the certificate, {_name(certificate)}, names no kernel, and that of the scan is sharp: it raises the "
            "density of bone by 10 % and more; use the kernel that the certificate was measured with, and name it there"
        )
    return Calibration(
        CalibrationMode.ASYNCHRONOUS,
        certificate.equivalent_material,
        certificate.slope_hu_per_mg_cm3,
        certificate.intercept_hu,
        certificate_date=certificate.certificate_date.isoformat(),
        warnings=(
            *((NO_KERNEL,) if not certificate.kernel else ()),
            *validity(certificate.certificate_date, certificate.valid_until, scanner.scan_date),
        ),
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


def _differences(certificate: AsynchronousSettings, scanner: Scanner) -> list[str]:
    """Return what the certificate says and the scan does not, as ends of a sentence; nothing from the header itself."""
    named = (
        ("manufacturer", certificate.manufacturer, scanner.manufacturer),
        ("model", certificate.model, scanner.model),
        ("station name", certificate.station_name, scanner.station_name),
        ("serial number", certificate.device_serial, scanner.device_serial),
    )
    found = [
        f"names another {what} than the scan" if seen else f"names the {what}, which the scan does not state"
        for what, wanted, seen in named
        if wanted and not same(wanted, seen)
    ]
    if scanner.kvp is None:
        found.append(f"is for {certificate.kvp:g} kV, and the scan does not state its tube voltage")
    elif abs(scanner.kvp - certificate.kvp) > KVP_TOLERANCE:
        found.append(f"is for {certificate.kvp:g} kV, and the scan was made at {scanner.kvp:g} kV")
    if certificate.kernel and not same_kernel(certificate.kernel, scanner.kernel):
        found.append(f"is for the kernel {certificate.kernel}, and the scan {_of(scanner.kernel, 'kernel')}")
    wanted, seen = ImageKind(certificate.image, certificate.kev), ImageKind(scanner.beam, scanner.kev)
    energy = wanted.kev is None or (seen.kev is not None and abs(wanted.kev - seen.kev) <= KEV_TOLERANCE)
    if wanted.beam is not seen.beam or not energy:
        found.append(f"is for {wanted.described} images, and those of the scan are {seen.described}")
    return found


def _of(seen: str, what: str) -> str:
    return f"has another {what}" if seen else f"does not state its {what}"


def _nothing_fits(certificates: tuple[AsynchronousSettings, ...], scanner: Scanner) -> str:
    """Return the reason with the parts in which the nearest certificates differ."""
    if not certificates:
        return "the settings hold no certificate"
    differing = [(_differences(certificate, scanner), certificate) for certificate in certificates]
    least = min(len(differences) for differences, _ in differing)
    nearest = [pair for pair in differing if len(pair[0]) == least][:NEAREST]
    named = "; ".join(f"{_name(certificate)} {', '.join(differences)}" for differences, certificate in nearest)
    return f"no certificate fits this scan: {named}"


def _name(certificate: AsynchronousSettings) -> str:
    return f"that of {certificate.station_name or certificate.device_serial} from {certificate.certificate_date}"
