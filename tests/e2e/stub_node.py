"""Runs `up` with the stub segmenter of tests/broker in place of the V-Net: `stub_node.py SETTINGS FOLDER`."""

import sys
from dataclasses import replace
from pathlib import Path

from node.logs import configure_logging
from node.run.up import PARTS, run_up
from node.settings.settings import load_settings

WORKER = Path(__file__).parents[1] / "broker" / "stub_worker.py"

if __name__ == "__main__":
    configure_logging()
    settings_file, folder = sys.argv[1:]
    worker = (sys.executable, str(WORKER), settings_file, folder, "segment")
    parts = [replace(part, command=worker) if part.name == "segment" else part for part in PARTS]
    run_up(Path(settings_file), load_settings(settings_file), parts)
