"""Runs `up` with the traceable segmenter in place of the V-Net: `stub_up.py SETTINGS [segment]` (its worker alone)."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[2]))  # for the helper modules in tests/

from node.logs import configure_logging
from node.run.processes import die_with_parent, private
from node.run.up import PARTS, run_up
from node.settings.settings import load_settings


def main(settings_file: Path, part: str = "") -> None:
    """Run the node, or only its segmenting worker, which uses the traceable segmenter."""
    if part:
        die_with_parent()
    with private():
        configure_logging()
        settings = load_settings(settings_file)
        if part:
            from e2e.crash.traceable_segmenter import TraceableSegmenter

            from worker.app import make_worker_app, run_worker

            sys.exit(run_worker(make_worker_app(settings, TraceableSegmenter(settings_file.parent)), part))
        worker = (sys.executable, __file__, str(settings_file), "segment")
        run_up(settings_file, settings, [replace(p, command=worker) if p.name == "segment" else p for p in PARTS])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
