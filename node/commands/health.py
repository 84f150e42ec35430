"""The commands `status` (the state of the running node) and `check` (the state of its configuration)."""

from collections.abc import Iterator
from dataclasses import asdict

import click

from node.commands import as_json, opened_ledger, print_json, settings_of
from node.commands.checks import Finding, disk_finding, findings
from node.errors import NodeError
from node.files.disk_space import Level, assess_disk_space, free_space
from node.run.health import assess


@click.command()
@as_json
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show the state of the node: processes, jobs, disk. Exit 1 if a process, the broker or the disk fails."""
    from node.dispatch.broker_health import broker_fault

    settings = settings_of(ctx)
    with opened_ledger(settings) as ledger:
        disk = assess_disk_space(free_space(settings.data), settings.intake)
        fault = broker_fault(settings)
        health = assess(
            ledger.processes.all(), ledger.now(), settings.jobs.heartbeat_seconds, disk, fault, ledger.outbox.backlogs()
        )
        counts = ledger.queries.counts()
    if as_json:
        jobs = {state.value: count for state, count in counts.items()}
        print_json(health.to_dict() | {"jobs": jobs, "disk": asdict(disk_finding(disk, settings))})
    else:
        for process, age, _ in health.processes:
            click.echo(f"{process.kind:<16} {process.host} process {process.pid}, last report {age:.0f} s ago")
        click.echo("jobs: " + (", ".join(f"{n} {state}" for state, n in counts.items() if n) or "none"))
        click.echo(f"disk: {'WARNING: ' * (disk.level is Level.WARNING)}{disk.sentence}")
        for warning in health.warnings:
            if warning != disk.sentence:
                click.echo(f"WARNING: {warning}")
    if health.stale:
        raise NodeError("; ".join(health.stale))


@click.command()
@as_json
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Check settings, data folder, ledger, ports, broker, peers, model, disk. Exit 1 if a check fails.

    Asks each peer by C-ECHO.
    """
    found = []
    for finding in _findings(ctx):
        found.append(finding)
        if not as_json:
            click.echo(f"{finding.word} {finding.name}: {finding.detail}")
    failed = [finding.name for finding in found if not finding.ok]
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(finding) for finding in found]})
    if failed:
        raise NodeError(f"failed checks: {', '.join(failed)}")


def _findings(ctx: click.Context) -> Iterator[Finding]:
    try:
        settings = settings_of(ctx)
    except NodeError as error:
        yield Finding("settings", ok=False, detail=str(error))
        return
    yield Finding("settings", ok=True, detail=f"AE title {settings.node.ae_title}, {len(settings.peers)} peers")
    yield from findings(settings)
