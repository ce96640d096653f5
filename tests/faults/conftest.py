from tests.faults.tally import TALLIES


def pytest_terminal_summary(terminalreporter):
    """What was tried and what came of it: the figures of docs/reliability.md."""
    for tally in TALLIES:
        terminalreporter.write_line(str(tally))
