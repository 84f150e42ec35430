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


def test_a_process_of_a_former_life_with_the_same_process_id_is_forgotten(ledger):
    ledger.processes.report("scp@box:7:aaaa", "scp", "box", 7)
    ledger.processes.report("scp@other:7:bbbb", "scp", "other", 7)
    ledger.processes.report("scp@box:7:cccc", "scp", "box", 7)
    assert [process.name for process in ledger.processes.all()] == ["scp@box:7:cccc", "scp@other:7:bbbb"]
