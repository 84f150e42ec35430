"""The command `evaluate`."""

from pathlib import Path

import click

from segmenter.commands.cases import DISTAL, FOLDER, PLAIN_ERRORS, read_checked_cases
from segmenter.commands.out_folder import OUT
from segmenter.commands.progress import bars


@click.command()
@click.option("--cases", required=True, type=FOLDER, help="Folder of cases with cases.csv (docs/evidence/protocol.md).")
@click.option("--model", type=FOLDER, help="Folder of other weights.")
@click.option("--out", required=True, type=OUT, help="Folder for evaluation.json, table.md and plots.")
@click.option("--distal", default=0.0, show_default=True, type=click.FloatRange(0), help=DISTAL)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print the evaluation as one JSON document.")
def evaluate(cases: Path, model: Path | None, out: Path, distal: float, device: str, as_json: bool) -> None:
    """Measure one model on a folder of cases, beside the paper's figures. For investigational use."""
    from segmenter.evaluation.evaluate import evaluate_cases
    from segmenter.evaluation.plots import require_matplotlib
    from segmenter.evaluation.report import EVALUATION, TABLE, describe_model, write_evaluation
    from segmenter.pipeline import vnet_method

    try:
        require_matplotlib()
        found = read_checked_cases(cases)
        method = vnet_method(model, device)
        with bars(scans=len(found)) as show:
            results = evaluate_cases(found, method, show["scans"], distal)
        write_evaluation(results, describe_model(method, distal), "Evaluation", out)
    except PLAIN_ERRORS as error:
        raise click.ClickException(str(error)) from error
    click.echo((out / (EVALUATION if as_json else TABLE)).read_text(), nl=False)
