"""A small folder of shards of every converter, from its fixture in the raw layout."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import scipy.io
from datasets import Dataset

from shards import (
    amc,
    aria_vrs,
    berkeley_mhad,
    bvh,
    csv,
    egoexo4d,
    egoexo4d_imu,
    egohumans,
    hub,
    mri,
    pamap2,
    smpl,
    sp_sw_har,
    synthetic,
    totalcapture,
    utd_mhad,
)
from tests.shards import (
    fixtures_egoexo4d,
    fixtures_egohumans,
    fixtures_mri,
    fixtures_totalcapture,
    test_amc,
    test_berkeley_mhad,
    test_csv,
    test_hub,
    test_smpl,
    test_sp_sw_har,
)
from tests.shards.bvh_writer import human, motion
from tests.shards.bvh_writer import write as write_bvh
from tests.shards.fixtures_vrs import read_vrs
from tests.shards.pamap2_writer import HAND, lose, table
from tests.shards.pamap2_writer import write as write_pamap2


def make(name: str, folder: Path) -> Path:
    """Writes the fixture of a converter below `folder` and converts it; gives the folder of shards."""
    raw, out = folder / "raw" / name, folder / name
    raw.mkdir(parents=True)
    MADE[name](raw, out)
    return out


def _amc(raw: Path, out: Path) -> None:
    amc.run(test_amc.folder_of(raw), out, licence="made here", subjects={"val": ["02"]})


def _berkeley_mhad(raw: Path, out: Path) -> None:
    for subject in (1, 2, 8, 9):
        clips = {sensor: test_berkeley_mhad.clip(sensor) for sensor in (range(1, 7) if subject % 2 else (1, 2, 5))}
        test_berkeley_mhad.put(raw, (subject, subject, 1), clips)
    berkeley_mhad.run(raw, out)


def _bvh(raw: Path, out: Path) -> None:
    for number in range(3):
        values = motion(human(), 360, 120.0, seed=number)
        (raw / f"walk_{number}.bvh").write_bytes(write_bvh(human(), values))
    (raw / "texts.csv").write_text(
        "file,label,text\n" + "".join(f"walk_{n}.bvh,walk,a person walks\n" for n in range(3))
    )
    bvh.run(raw, out, licence="made here", tables=[raw / "texts.csv"])


def _csv(raw: Path, out: Path) -> None:
    for name in ("s1_walking", "s2_running", "s3_sitting"):
        test_csv.write(raw / f"{name}.csv", [20 * i for i in range(900)], test_csv.signals(900))
    changes = {"name": r"(?P<subject>s\d)_(?P<activity>\w+)\.csv", "splits": {"test": ["s3"]}}
    csv.run(raw, out, config=csv.Table.model_validate(test_csv.BASE | changes))


def _egoexo4d(raw: Path, out: Path) -> None:
    fixtures_egoexo4d.write_tree(raw)
    with pytest.MonkeyPatch.context() as patch:
        if not aria_vrs.installed():  # then the reading of VRS files is replaced, and nothing else
            patch.setattr(egoexo4d_imu, "read_imu", read_vrs)
            patch.setattr(aria_vrs, "installed", lambda: True)
        egoexo4d.run(raw, out)


def _egohumans(raw: Path, out: Path) -> None:
    fixtures_egohumans.write_tree(raw)
    egohumans.run(raw, out)


def _hub(raw: Path, out: Path) -> None:
    for split in ("train", "test"):
        windows = [test_hub.signals(128, seed) for seed in range(6)]
        columns = {name: [x[:, i].tolist() for x in windows] for i, name in enumerate([*test_hub.ACC, *test_hub.GYRO])}
        columns["word"] = ["walking", "sitting"] * 3
        Dataset.from_dict(columns).to_parquet(raw / f"{split}.parquet")
    labels = {"activity": {"column": "word"}}
    hub.run(str(raw), out, config=test_hub.table_of(test_hub.ACC, test_hub.GYRO, rate_hz=50, labels=labels))


def _mri(raw: Path, out: Path) -> None:
    fixtures_mri.write_tree(raw)
    mri.run(raw, out)


def _pamap2(raw: Path, out: Path) -> None:
    x = table([(1, 900), (4, 900), (5, 900), (24, 900)])
    lose(x, HAND, 1000, 1500)
    for subject in ("101", "106"):
        write_pamap2(raw / "Protocol" / f"subject{subject}.dat", x)
    pamap2.run(raw, out)


def _smpl(raw: Path, out: Path) -> None:
    test_smpl.amass(raw)
    (raw / "texts.csv").write_text("file,label,text\n" + "".join(
        f"{name},turn,a person turns and swings the arms\n"
        for name in ("CMU/01/01_01_poses.npz", "CMU/02/02_01_stageii.npz", "HDM05/bk/bk_01_stageii.npz")
    ))  # fmt: skip
    smpl.run(raw, out, tables=[raw / "texts.csv"])


def _sp_sw_har(raw: Path, out: Path) -> None:
    for name in ("s01_01_sp", "s01_01_sw", "s02_01_sp"):
        (raw / f"{name}.csv").write_text("\n".join(test_sp_sw_har.device(name[-2:])) + "\n")
    sp_sw_har.run(raw, out, whole=True)


def _totalcapture(raw: Path, out: Path) -> None:
    fixtures_totalcapture.write_tree(raw)
    totalcapture.run(raw, out)


def _utd_mhad(raw: Path, out: Path) -> None:
    for number, (action, subject) in enumerate(((1, 1), (22, 3), (6, 5), (9, 7), (1, 2), (22, 4))):
        rng = np.random.default_rng(number)
        waves = np.sin(np.linspace(0, 12, 120)[:, None] + np.arange(6)) * [1, 1, 1, 90, 90, 90]
        body = rng.uniform([-0.5, -0.8, 2.5], [0.5, 0.8, 3.0], (20, 3))[..., None] + 0.1 * np.sin(np.arange(45) / 5)
        for kind, values in (("inertial", {"d_iner": waves}), ("skeleton", {"d_skel": body})):
            scipy.io.savemat(raw / f"a{action}_s{subject}_t1_{kind}.mat", values)
    utd_mhad.run(raw, out)


def _synthetic(raw: Path, out: Path) -> None:
    words = "--limit 12 --subjects 1 --val-subjects 1 --test-subjects 0 --seconds 3 --no-video"
    with mock.patch.object(sys, "argv", ["shards.synthetic", "--out", str(out), *words.split()]):
        synthetic.main()


MADE = {
    "amc": _amc,
    "berkeley_mhad": _berkeley_mhad,
    "bvh": _bvh,
    "csv": _csv,
    "egoexo4d": _egoexo4d,
    "egohumans": _egohumans,
    "hub": _hub,
    "mri": _mri,
    "pamap2": _pamap2,
    "smpl": _smpl,
    "sp_sw_har": _sp_sw_har,
    "synthetic": _synthetic,
    "totalcapture": _totalcapture,
    "utd_mhad": _utd_mhad,
}
