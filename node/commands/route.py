"""The command `route`: what the node would do with the series in a folder, with the reasons."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from node.commands import as_json, print_json, settings_of
from node.commands.tools import is_dicom
from node.decide.preview import Found, SeriesPreview, StudyPreview, preview
from node.decide.routing import Trial
from node.dicom.headers import file_header
from node.errors import NodeError, ObjectError
from node.records.jobs import Decision
from node.records.states import JobState
from node.settings.settings import Settings

BUILT_IN = "the built-in rule"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--explain", is_flag=True, help="Show every route with its conditions and the values found.")
@click.option("--called-ae", metavar="AE", help="Called AE title; default: the node's own.")
@click.option("--calling-ae", metavar="AE", default="", help="Calling AE title; default: none.")
@as_json
@click.pass_context
def route(
    ctx: click.Context, folder: Path, explain: bool, called_ae: str | None, calling_ae: str, as_json: bool
) -> None:
    """Show what the node would do with series.

    For each series in DIR: whether it is complete, which route decides, and the order of the series of a study.

    Nothing is sent, stored or segmented.
    """
    settings = settings_of(ctx)
    files = [path for path in sorted(folder.rglob("*")) if is_dicom(path)] if folder.is_dir() else [folder]
    found, broken = read_folder(files)
    if not found:
        what = f"none of the {broken.total()} DICOM files can be read: {next(iter(broken))}" if broken else ""
        raise NodeError(f"{folder}: {what}" if what else f"there is no DICOM file in {folder}")
    if called_ae and not settings.answers_to(called_ae):
        click.echo(f"the node does not answer to {called_ae}: add it to further_ae_titles under [node]", err=True)
    studies = preview(found, settings, called_ae or settings.node.ae_title, calling_ae)
    if as_json:
        unreadable = [{"reason": reason, "files": count} for reason, count in broken.items()]
        print_json({"studies": [study.to_dict() for study in studies], "unreadable": unreadable})
        return
    for line in _report(studies, broken, settings, explain=explain):
        click.echo(line)


def _report(studies: list[StudyPreview], broken: Counter[str], settings: Settings, *, explain: bool) -> Iterator[str]:
    for study in studies:
        yield f"study {study.study_uid}: {len(study.series)} series"
        for number, series in enumerate(study.series, 1):
            yield f"  {number}. {_headline(series)}"
            yield f"     complete: {_completeness(series.whole)}"
            if explain:
                yield from (f"     {line}" for trial in series.trials for line in _trial(trial))
            yield f"     route:    {_routed(series.routed)}"
            yield f"     result:   {_outcome(series.outcome)}"
        yield from _rankings(study, settings)
    for reason, count in broken.items():
        yield f"not readable: {count} file{'s' * (count != 1)}: {reason}"


def _headline(series: SeriesPreview) -> str:
    candidate = series.candidate
    parts = [candidate.modality or "no modality", f"{series.objects} objects"]
    if candidate.thickness_mm is not None:
        parts.append(f"{candidate.thickness_mm:g} mm slices")
    if candidate.length_mm is not None:
        parts.append(f"{candidate.length_mm:g} mm long")
    if candidate.kernel:
        parts.append(f"kernel {candidate.kernel}")
    if candidate.contrast:
        parts.append("contrast medium")
    named = f"{candidate.name}, " if candidate.series_description else ""
    return f"{named}{', '.join(parts)} (series {candidate.series_uid})"


def _completeness(decision: Decision) -> str:
    return "yes" if decision.state is JobState.COMPLETE else f"no ({decision.code}): {decision.reason}"


def _trial(trial: Trial) -> Iterator[str]:
    result = "does not match"
    if trial.matches:
        result = "matches and decides" if trial.decides else "matches, but an earlier route decides"
    yield f"       {trial.route} {result}" + ("" if trial.conditions else " (no conditions)")
    for condition in trial.conditions:
        sign = "yes" if condition.holds else "no "
        yield f"         {sign} {condition.key} = {condition.wanted}: found {condition.found or 'nothing'}"


def _routed(decision: Decision) -> str:
    if decision.state is JobState.DECLINED:
        return f"declined ({decision.code}): {decision.reason}"
    name = decision.route or BUILT_IN
    where = ", ".join(decision.destinations or ()) or "no peer"
    how = f"priority {decision.priority}, model {decision.model or 'from the settings'}, results go to {where}"
    return f"{name} {'holds the series' if decision.state is JobState.HELD else 'accepts the series'}: {how}"


def _outcome(decision: Decision) -> str:
    if decision.state is JobState.QUEUED:
        return "the series is segmented"
    return f"{decision.state} ({decision.code}): {decision.reason}"


def _rankings(study: StudyPreview, settings: Settings) -> Iterator[str]:
    for name, ranked in study.rankings.items():
        every = settings.intake.series_per_study == "all"
        note = '; all are segmented because series_per_study = "all"' if every else ""
        yield f"  order of {len(ranked)} series by {name or BUILT_IN}{note}"
        for number, place in enumerate(ranked, 1):
            first = ranked[0].candidate.name
            why = f": {first} is better, {place.why}" if place.why else ""
            yield f"    {number}. {place.candidate.name}{why}"


def read_folder(files: Iterable[Path]) -> tuple[Found, Counter[str]]:
    """Return the headers by study and series, in the order of the files, and the number of broken files by reason.

    Of files with the same SOP Instance UID the first counts, as in the node.
    """
    found: Found = defaultdict(list)
    seen: set[str] = set()
    broken: Counter[str] = Counter()
    for file in files:
        try:
            header = file_header(file)
        except ObjectError as error:
            broken[str(error)] += 1
            continue
        if header.sop_uid not in seen:
            seen.add(header.sop_uid)
            found[header.study_uid, header.series_uid].append(header)
    return found, broken
