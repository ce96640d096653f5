import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test never reaches for a network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def edge(tmp_path_factory):
    """A tiny model and its exported folder, with what the export found."""
    from tests.edge import exported, tiny_model

    model, folder = tiny_model(), tmp_path_factory.mktemp("edge") / "model"
    return model, folder, exported(folder, model, int8=True)
