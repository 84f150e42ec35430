"""Check that no study is lost, doubled or left without a state: `soak.py --studies N [--real N] --seed N --out DIR`.

Sends N studies in every scenario while parts of the node are killed, checks the end state and prints the figures.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[0] = str(TESTS)
sys.path.insert(1, str(TESTS.parent))

from e2e.crash.crash_run import CrashRun  # noqa: E402
from e2e.crash.report import Outcome  # noqa: E402
from e2e.crash.studies import write_studies  # noqa: E402
from e2e.crash.study_plan import Timing, make_plans  # noqa: E402
from e2e.crash.synthetic_patients import real_studies  # noqa: E402

REAL_TIMING = Timing(quiet=2.0, give_up=15.0)


def main() -> int:
    """Run the command line; exit code 1 if there is a violation."""
    options = _options()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, datefmt="%H:%M:%S")
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    outcomes = []
    if options.studies:
        outcomes.append(_with_traceable_segmenter(options))
    if options.real:
        outcomes.append(_with_vnet(options))
    text = "# Crash run\n\n" + "\n".join(outcome.markdown() for outcome in outcomes)
    (options.out / "report.md").write_text(text)
    (options.out / "report.json").write_text(json.dumps([outcome.to_dict() for outcome in outcomes], indent=1))
    sys.stdout.write(text)
    return int(any(outcome.violations for outcome in outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="studies for a segmenter without network")
    parser.add_argument("--real", type=int, default=0, help="synthetic patients for the V-Net itself")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill-seconds", type=float, default=6.0, help="mean time between kills")
    parser.add_argument("--out", type=Path, required=True, help="output folder; it must not exist yet")
    options = parser.parse_args()
    options.out = options.out.absolute()
    options.out.mkdir(parents=True)
    return options


def _with_traceable_segmenter(options: argparse.Namespace) -> Outcome:
    timing = Timing()
    plans = make_plans(options.studies, options.seed, timing)
    studies = write_studies(plans, options.out / "sent", options.seed)
    title = f"{len(studies)} studies, traceable segmenter, seed {options.seed}"
    return CrashRun(title, options.out / "node", options.seed, timing, kill_seconds=options.kill_seconds).run(studies)


def _with_vnet(options: argparse.Namespace) -> Outcome:
    studies = real_studies(options.real, options.seed, REAL_TIMING, options.out / "patients")
    title = f"{len(studies)} synthetic patients, V-Net, seed {options.seed}"
    run = CrashRun(
        title,
        options.out / "real-node",
        options.seed,
        REAL_TIMING,
        threads=4,
        kill_seconds=3 * options.kill_seconds,
        standstill_seconds=300.0,
        real=True,
    )
    return run.run(studies)


if __name__ == "__main__":
    sys.exit(main())
