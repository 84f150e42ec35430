"""The sender of the comparison: DCMTK's storescu, one process per association."""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

from bench.figures import synthetic_series
from bench.receive.servers import FOLDER, Server, environment
from pydicom import dcmread
from pydicom.uid import generate_uid

PATIENCE_SECONDS = 180
ANSWER_SECONDS = 600  # storescp without --fork accepts one association after the other: the last waits for all others


@dataclass(frozen=True)
class Sent:
    """The outcome of a transfer: slices, seconds from the first start to the last end, senders that failed."""

    slices: int
    seconds: float
    failed: int


def series_files(copies: int, slices: int) -> list[list[Path]]:
    """Return `copies` series of `slices` files each; the copies of the scan differ in all their UIDs."""
    if copies == 1:
        return [sorted((synthetic_series() / "dicom").iterdir())[:slices]]
    return [sorted(_copy(number, slices).iterdir())[:slices] for number in range(copies)]


def _copy(number: int, slices: int) -> Path:
    folder = FOLDER / "copies" / f"{number}"
    if folder.is_dir() and sum(1 for _ in folder.iterdir()) >= slices:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    making = folder.with_suffix(".part")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for file in sorted((synthetic_series() / "dicom").iterdir())[:slices]:
        dataset = dcmread(file)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            dataset[keyword].value = generate_uid(entropy_srcs=[dataset[keyword].value, str(number)])
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(making / file.name)
    return making.rename(folder)


def send(server: Server, series: list[list[Path]], nodelay: bool) -> Sent:
    """Send each series over an association of its own, all at the same time."""
    call = ["storescu", "-ta", str(ANSWER_SECONDS), "-aec", server.kind.ae_title, "127.0.0.1", str(server.port)]
    logs = [(FOLDER / f"storescu-{number}.log").open("wb") for number in range(len(series))]
    begin = time.perf_counter()
    senders = [
        subprocess.Popen([*call, *map(str, files)], env=environment(nodelay), stdout=log, stderr=log)
        for files, log in zip(series, logs, strict=True)
    ]
    failed = sum(_ended(sender, begin + PATIENCE_SECONDS) != 0 for sender in senders)
    seconds = time.perf_counter() - begin
    for log in logs:
        log.close()
    return Sent(sum(map(len, series)), seconds, failed)


def _ended(sender: "subprocess.Popen[bytes]", deadline: float) -> int:
    """Return the exit code of a sender; `wait` with a timeout would poll only every 50 ms."""
    killer = Timer(max(0.0, deadline - time.perf_counter()), sender.kill)
    killer.start()
    code = sender.wait()
    killer.cancel()
    return code
