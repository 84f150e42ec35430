"""The process that decodes compressed pixels into a shared volume, under limits of memory and time."""

import ctypes
import json
import mmap
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from segmenter.errors import Reason, SegmenterError
from segmenter.read.plane_pixels import FilePlanes, PlaneToFill, fill_planes

PR_SET_PDEATHSIG = 1
FILE_SECONDS, PLANE_SECONDS = 20, 5  # of the processor; a plane of 512 x 512 takes a tenth of a second


def main() -> None:
    """Read the order from the standard input; write a line for each image begun, then what came of it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    order = json.load(sys.stdin)
    shape, dtype = tuple(order["shape"]), np.dtype(order["dtype"])
    volume: Any = np.ndarray(shape, dtype, mmap.mmap(order["descriptor"], int(np.prod(shape)) * dtype.itemsize))
    _limit_memory(order["most_memory"])
    try:
        for entry in order["files"]:
            planes = tuple(PlaneToFill(**plane) for plane in entry["planes"])
            _say(image=entry["name"])
            _limit_time(FILE_SECONDS + PLANE_SECONDS * len(planes))
            fill_planes(volume, FilePlanes(Path(entry["path"]), entry["name"], planes))
    except SegmenterError as refusal:
        _say(reason=refusal.reason, sentence=str(refusal), verdict=refusal.verdict)
    except MemoryError:
        megabytes = order["most_memory"] // 2**20
        sentence = f"the pixels of image {entry['name']} need more than {megabytes} MB to be decoded"
        _say(reason=Reason.UNREADABLE, sentence=f"{sentence}; send the series uncompressed", verdict="held")
    except Exception as error:  # noqa: BLE001 (the edge of the process: the parent raises it)
        _say(
            error=f"{type(error).__name__} in the decoding process",
            trace="".join(traceback.format_tb(error.__traceback__)),
        )
    else:
        _say(done=True)


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 (the answer to the parent)


def _limit_memory(most: int) -> None:
    """Allow so many bytes of addresses beyond those already in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * mmap.PAGESIZE + most
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_time(seconds: int) -> None:
    """Have the kernel end the process when it has computed for so many more seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1 + seconds, resource.RLIM_INFINITY)
    )


if __name__ == "__main__":
    main()
