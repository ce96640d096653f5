"""A recording that cannot be converted: the others are, and it can be left out."""

import json

import pytest

from aura.data.writer import MANIFEST, ShardError
from shards.common import convert
from tests.data.samples import make_sample


def samples_of(recording):
    number = int(recording[1:])
    if number == 2:
        yield "train", make_sample(20)  # a first sample is fine, the second is not
        raise ValueError("the sensor shows 3 g at rest")
    yield "train", make_sample(number)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_others_are_converted_and_it_is_named(tmp_path, workers, capsys):
    ids = [f"r{i}" for i in range(4)]
    with pytest.raises(ShardError, match=r"(?s)1 of 4 recordings failed.*'r2'.*3 g at rest.*--resume --skip-failed"):
        convert("test", ids, samples_of, tmp_path / "out", workers=workers)
    assert not (tmp_path / "out" / MANIFEST).exists()
    assert len(list((tmp_path / "out").glob(".parts/*.tar"))) == 3
    manifest = convert("test", ids, samples_of, tmp_path / "out", workers=workers, resume=True, skip_failed=True)
    assert manifest["splits"]["train"]["samples"] == 3, "no sample of a recording that is left out"
    (reason,) = manifest["dropped"]
    assert "'r2': ValueError: the sensor shows 3 g at rest" in reason
    assert "3 g at rest" in capsys.readouterr().out
    # The same as a conversion that left it out from the start.
    again = convert("test", ids, samples_of, tmp_path / "again", skip_failed=True)
    assert json.dumps(again) == json.dumps(manifest)
