"""Have another process decode compressed pixels, so that a decoder can take neither our memory nor our threads.

Decoders are written in C. One that is misled by its stream allocates gigabytes, computes for minutes or crashes, and
holds Python's global lock meanwhile, so that no heartbeat of the job could be written.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.plane_pixels import FilePlanes, Volume

PROGRAM = "segmenter.read.decoder_process"
ROOT = Path(__file__).resolve().parents[2]
MOST_MEMORY = 1536 * 2**20
"""Bytes that the decoding process may allocate besides the volume."""
ADVICE = "send the series uncompressed (Explicit VR Little Endian)"


class DecoderProcessError(RuntimeError):
    """The decoding process failed for a reason that is no fault of the files; the notes hold its traceback."""


def decode_apart(
    files: Sequence[FilePlanes], shape: tuple[int, int, int], dtype: np.dtype[Any], most_memory: int = MOST_MEMORY
) -> Volume:
    """Return a volume that another process has filled with the planes of these files.

    most_memory: bytes that it may allocate besides the volume. Raises SegmenterError for pixels that cannot be decoded,
    or not within these limits.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    descriptor = os.memfd_create("volume")
    try:
        os.ftruncate(descriptor, size)
        volume: Volume = np.ndarray(shape, dtype, mmap.mmap(descriptor, size))
        order = {
            "files": [asdict(file) | {"path": str(file.path)} for file in files],
            "shape": shape, "dtype": dtype.str, "descriptor": descriptor, "most_memory": most_memory,
        }  # fmt: skip
        _run(order, descriptor)
    finally:
        os.close(descriptor)
    return volume


def _run(order: dict[str, Any], descriptor: int) -> None:
    """Run the process; raise what stopped it."""
    name, answer = "", None
    with _process(descriptor) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
        for line in process.stdout:
            said = json.loads(line)
            if "image" not in said:
                answer = said
                break
            name = said["image"]
    if answer is None:
        raise SegmenterError(Reason.UNREADABLE, f"the pixels of image {name} {_ending(process.returncode)}; {ADVICE}")
    if "reason" in answer:
        raise SegmenterError(Reason(answer["reason"]), answer["sentence"], Verdict(answer["verdict"]))
    if "error" in answer:
        failure = DecoderProcessError(answer["error"])
        failure.add_note(answer["trace"])
        raise failure


@contextmanager
def _process(descriptor: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the process; it has ended when the block ends, whatever ends it."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    # Nothing of what the process prints as a warning is shown: it may hold words of a header.
    with subprocess.Popen(
        [sys.executable, "-P", "-m", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        pass_fds=(descriptor,),
    ) as process:  # fmt: skip
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _ending(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "took too long to be decoded"
    return f"stopped the program that decodes them ({_signal(code)})"


def _signal(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
