"""The commands about jobs: `jobs`, `show`, `retry`, `hold`, `release`, `cancel`."""

import os
import platform
import pwd
from datetime import UTC, datetime

import click

from node.commands import as_json, opened_ledger, print_json, settings_of
from node.decide.due_now import due_now
from node.records.jobs import Job
from node.records.states import JobState

COLUMNS = "{:<15} {:<10} {:>8} {:<4} {:>6} {:<24} {}"
STATES = click.Choice([state.value for state in JobState])


@click.command()
@click.option("--state", type=STATES, help="Only jobs in this state.")
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True, help="Show the newest N jobs.")
@as_json
@click.pass_context
def jobs(ctx: click.Context, state: str | None, limit: int, as_json: bool) -> None:
    """List the jobs, the newest first."""
    with opened_ledger(settings_of(ctx)) as ledger:
        found = ledger.queries.jobs(JobState(state) if state else None, limit)
        now, data = ledger.now(), ledger.data
    if as_json:
        print_json([job.to_dict(data) for job in found])
        return
    click.echo(COLUMNS.format("JOB", "STATE", "AGE", "MOD", "SLICES", "SERIES", "REASON").rstrip())
    for job in found:
        click.echo(_line(job, now))


@click.command()
@click.argument("job_id", metavar="ID")
@as_json
@click.pass_context
def show(ctx: click.Context, job_id: str, as_json: bool) -> None:
    """Show one job with its history, results and deliveries."""
    with opened_ledger(settings_of(ctx)) as ledger:
        job = ledger.queries.job(job_id)
        history = ledger.queries.events(job_id)
        data = ledger.data
    row = job.to_dict(data) | {"events": [event.to_dict() for event in history]}
    if as_json:
        print_json(row)
        return
    for key in ("id", "state", "reason", "study_uid", "series_uid", "revision", "calling_ae", "instances", "attempts"):
        click.echo(f"{key:<12} {row[key]}")
    for event in history:
        click.echo(f"{event.at:%Y-%m-%d %H:%M:%S}  {event.state:<10} {event.text}")
    for stage, seconds in job.stage_seconds.items():
        click.echo(f"stage        {stage} {seconds:.1f} s")
    for result in job.results:
        click.echo(f"result       {result.kind} {'removed' if job.removed_at else data / result.key}")
    for delivery in job.deliveries:
        click.echo(
            f"delivery     {delivery.result.kind} to {delivery.peer}: {delivery.state} {delivery.reason}".rstrip()
        )


@click.command()
@click.argument("job_id", metavar="ID")
@click.pass_context
def retry(ctx: click.Context, job_id: str) -> None:
    """Repeat what failed, as the present settings ask for.

    Repeats the delivery or the segmentation; for a declined or cancelled job, the decision.
    """
    settings = settings_of(ctx)
    with opened_ledger(settings) as ledger:
        due = due_now(ledger.queries.job(job_id), ledger.instances.headers_of(job_id), settings)
        state = ledger.operator.retry(job_id, _actor(), due)
    nothing = ": the present settings ask for nothing more" if state is JobState.DELIVERED else " again"
    click.echo(f"job {job_id} is {state}{nothing}")


@click.command()
@click.argument("job_id", metavar="ID")
@click.pass_context
def hold(ctx: click.Context, job_id: str) -> None:
    """Hold a job that has no result yet. It stops until it is released."""
    with opened_ledger(settings_of(ctx)) as ledger:
        ledger.operator.hold(job_id, _actor())
    click.echo(f"job {job_id} is held")


@click.command()
@click.argument("job_id", metavar="ID")
@click.pass_context
def release(ctx: click.Context, job_id: str) -> None:
    """Release a held or receiving job.

    A held job continues where it stopped; a receiving job starts with the slices that have arrived.
    """
    with opened_ledger(settings_of(ctx)) as ledger:
        click.echo(f"job {job_id} is {ledger.operator.release(job_id, _actor())}")


@click.command()
@click.argument("job_id", metavar="ID")
@click.pass_context
def cancel(ctx: click.Context, job_id: str) -> None:
    """Stop a job and its open deliveries."""
    with opened_ledger(settings_of(ctx)) as ledger:
        ledger.operator.cancel(job_id, _actor())
    click.echo(f"job {job_id} is cancelled")


def _actor() -> str:
    """Return the operating system's user and host, as `root on HOST`; in a container the user may have no name."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"user {os.getuid()}"
    return f"{user} on {platform.node()}"


def _line(job: Job, now: datetime) -> str:
    what = job.description or job.series_uid or f"from {job.calling_ae}"
    row = (job.id, job.state, _age(now.astimezone(UTC), job.received_at), job.modality, job.instances, what[:24])
    return COLUMNS.format(*row, job.reason).rstrip()


def _age(now: datetime, then: datetime) -> str:
    seconds = int((now - then).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
