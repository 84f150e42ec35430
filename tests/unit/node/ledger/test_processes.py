"""Processes that report themselves."""

from datetime import timedelta


def test_processes_report_themselves(ledger, clock):
    ledger.processes.report("scp@here:1", "scp", "here", 1)
    clock.push(5)
    ledger.processes.report("scp@here:1", "scp", "here", 1)
    [process] = ledger.processes.all()
    assert process.last_seen - process.started_at == timedelta(seconds=5)
    ledger.processes.remove("scp@here:1")
    assert ledger.processes.all() == []
