"""Runs the real worker with the stub segmenter: `stub_worker.py SETTINGS FOLDER QUEUE`."""

import sys
from pathlib import Path

from stub_segmenter import StubSegmenter

from node.logs import configure_logging
from node.run.processes import die_with_parent
from node.settings.settings import load_settings
from worker.app import make_worker_app, run_worker

if __name__ == "__main__":
    die_with_parent()
    configure_logging()
    settings_file, folder, queue = sys.argv[1:]
    sys.exit(run_worker(make_worker_app(load_settings(settings_file), StubSegmenter(Path(folder))), queue))
