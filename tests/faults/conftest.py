import pytest

from tests.faults.tally import TALLIES
from tests.train.conftest import processes, shards, unbroken  # noqa: F401


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """They take minutes: `pytest -m slow tests/faults`."""
    for item in items:
        if item.path.parent.name == "faults":
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter):
    """What was tried and what came of it: the figures of docs/reliability.md."""
    for tally in TALLIES:
        terminalreporter.write_line(str(tally))
