"""A disk that is full, a directory that cannot be written, a clock that jumps back."""

import pytest

from aura.data.writer import MANIFEST, ShardWriter
from tests.data.samples import make_sample
from tests.faults.guard import guarded
from tests.faults.tally import Tally, count, draws
from tests.train.faults import mount
from tests.train.runs import status
from tests.train.test_runs import assert_same_run


def mounts(folder) -> bool:
    folder.mkdir()
    return guarded(lambda: mount(str(folder), "size=1m"))[0] == "value"


@pytest.fixture
def _mounting(tmp_path):
    if not mounts(tmp_path / "probe"):
        pytest.skip("no mount namespace here (unshare is not allowed)")


@pytest.mark.slow
@pytest.mark.usefixtures("_mounting")
def test_a_full_disk_leaves_no_half_checkpoint_and_nothing_is_lost(processes, unbroken, tmp_path):
    """Checkpoints on a file system of random size; then, with room, the same run as one that nothing stopped."""
    draw, tally = draws("full disk"), Tally("full disk under checkpoints")
    for number in range(count(1)):
        run_dir = tmp_path / f"run{number}"
        (run_dir / "checkpoints").mkdir(parents=True)
        full = {"MOUNT": f"size={draw.randint(40, 1500)}k {run_dir / 'checkpoints'}"}
        run = processes.pretrain(run_dir, environment=full)
        codes, text = run.wait(), run.text()
        if codes != [1] or "no checkpoint written in" not in text or "Traceback" in text:
            tally.lose(f"{full}: {codes} {text[-1500:]}")
            continue
        assert status(run_dir)["state"] == "failed"
        again = processes.pretrain(run_dir)
        assert again.wait() == [0], again.text()
        assert_same_run(run_dir, unbroken)
        tally.note("refused, went on with room, same ids and losses")
    tally.close()


@pytest.mark.usefixtures("_mounting")
def test_a_run_directory_that_cannot_be_written_is_refused(processes, tmp_path):
    tally = Tally("read-only run directory")
    for number in range(count(1)):
        run_dir = tmp_path / f"run{number}"
        run_dir.mkdir()
        run = processes.pretrain(run_dir, environment={"MOUNT": f"ro {run_dir}"})
        codes, text = run.wait(), run.text()
        if codes == [1] and f"run directory {run_dir} cannot be written" in text and "Traceback" not in text:
            tally.note("refused, the directory named")
        else:
            tally.lose(f"{codes} {text[-1500:]}")
    tally.close()


@pytest.mark.usefixtures("_mounting")
def test_a_full_disk_leaves_no_shards_that_look_whole(tmp_path):
    """A converter's writer on a file system of random size: an error that names the file, and no manifest."""
    draw, tally = draws("shards"), Tally("full disk under shards")

    def written(folder, size):
        mount(str(folder), f"size={size}k")
        try:
            with ShardWriter(folder / "out", name="test", shard_bytes=60_000) as writer:
                for i in range(6):
                    writer.write("train", make_sample(i, seconds=3.0, imu_hz=50))
        except OSError as error:
            assert not (folder / "out" / MANIFEST).exists()
            return ["full", str(error)]
        return ["written", ""]

    for number in range(count(10)):
        folder = tmp_path / f"d{number}"
        folder.mkdir()
        size = draw.randint(8, 1200)
        state, value = guarded(lambda folder=folder, size=size: written(folder, size))
        if state == "value" and (value[0] == "written" or str(folder) in value[1] or "disk full" in value[1]):
            tally.note("there was room" if value[0] == "written" else "refused, nothing that looks whole left")
        else:
            tally.lose(f"{size} kB: {state}: {value}")
    tally.close()


@pytest.mark.slow
def test_a_clock_that_jumps_back_changes_nothing(processes, unbroken, tmp_path):
    """time.time goes back by an hour or by years in the middle of a run that is stopped and goes on."""
    draw, tally = draws("clock"), Tally("clock that jumps back")
    for number in range(count(1)):
        run_dir = tmp_path / f"run{number}"
        jump = {"CLOCK_BACK": f"{draw.choice([3600, 86400, 10**9])}:{draw.randint(1, 200)}"}
        run = processes.pretrain(run_dir, environment=jump | {"SIGNAL_AT": f"step {draw.randint(2, 11)}"})
        assert run.wait() == [75], run.text()
        run = processes.pretrain(run_dir, environment=jump)
        assert run.wait() == [0], run.text()
        assert_same_run(run_dir, unbroken)
        tally.note("same ids and losses")
    tally.close()
