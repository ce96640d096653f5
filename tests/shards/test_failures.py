"""A recording that cannot be converted: the others are, and it can be left out."""

import json

import pytest

from aura.data.writer import MANIFEST, ShardError
from shards.common import convert, exit_on_fault, parser, summary
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


def test_what_is_written_together_is_not_called_converted(tmp_path):
    ids = [f"r{i}" for i in range(8)]
    with pytest.raises(
        ShardError, match=r"1 of 8 recordings failed; 2 that are written together .* either; the others are converted"
    ):
        convert("test", ids, samples_of, tmp_path / "out", per_part=3)
    with pytest.raises(ShardError, match=r"1 of 3 recordings failed; 2 that are written together with them .* either:"):
        convert("test", ids[:3], samples_of, tmp_path / "all", per_part=3)


def test_a_file_as_out_and_limits_that_are_no_number(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    with pytest.raises(ShardError, match="out is a file: give the folder"):
        convert("test", ["r1"], samples_of, tmp_path / "out")
    for limit in ("-1", "0", "two"):
        with pytest.raises(SystemExit):
            parser("test", "").parse_args(["--out", "x", "--limit", limit])
        assert f"'{limit}' is no number of recordings: give 1 or more" in capsys.readouterr().err
    assert parser("test", "").parse_args(["--out", "x", "--limit", "12"]).limit == 12


def test_the_summary_tells_what_was_left_out_and_what_mended():
    dropped = {"gaps filled": {"count": 1200, "seconds": 1.23456}, "joints left out": {"count": 2, "seconds": 0.0}}
    lines = summary("out", {"name": "test", "splits": {}, "dropped": dropped}).splitlines()
    assert lines[2:] == ["left out or mended:", "  gaps filled: 1,200 (1.23 s)", "  joints left out: 2"]


def test_ctrl_c_says_how_to_go_on(capsys):
    with pytest.raises(SystemExit) as stopped, exit_on_fault(parser("test", "")):
        raise KeyboardInterrupt
    assert stopped.value.code == 130
    assert "stopped; the same command with --resume goes on" in capsys.readouterr().err
