"""IMU of VRS files: units by label, what is invalid, what is no such file."""

import os
from pathlib import Path

import numpy as np
import pytest

from shards.aria_vrs import read_imu
from tests.shards.fixtures_vrs import Unit, write_vrs

pytest.importorskip("projectaria_tools", reason="VRS files are read by projectaria-tools: pip install -e '.[egoexo4d]'")
START, END = 4_000_000_000_123, 4_000_100_000_123
RECORD = 32 + 79  # bytes of a sample: header, data


def signal(stamps: np.ndarray) -> np.ndarray:
    return (stamps[:, None] - START) / 1e6 + np.arange(6) * 1000


def test_units_are_found_by_label(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    units = {"imu-right": Unit(signal, 1e6), "imu-left": Unit(lambda ns: -signal(ns), 1e9 / 807.4)}
    path = write_vrs(tmp_path / "aria.vrs", units, START, END)
    found = read_imu(path, ["imu-left", "imu-right"])
    assert list(found) == ["imu-left", "imu-right"]
    for label, unit in units.items():
        assert np.array_equal(found[label].stamps, unit.stamps(START, END))
        assert np.array_equal(found[label].values, unit.signal(found[label].stamps).astype(np.float32))
    write_vrs(tmp_path / "one.vrs", {"imu-left": units["imu-left"]}, START, END)
    assert list(read_imu(tmp_path / "one.vrs", ["imu-right", "imu-left"])) == ["imu-left"]
    os.write(2, b"still heard")
    assert capfd.readouterr() == ("", "still heard")  # its C++ library says nothing, and stderr is back


def test_invalid_and_truncated_samples(tmp_path: Path) -> None:
    path = write_vrs(tmp_path / "aria.vrs", {"imu-right": Unit(signal, 1e6)}, START, END)
    data = bytearray(path.read_bytes())
    data[-RECORD + 32] = 0  # of the last sample: accelerometer_valid
    data[-2 * RECORD + 33] = 0  # of the one before: gyroscope_valid
    path.write_bytes(data)
    values = read_imu(path, ["imu-right"])["imu-right"].values
    assert np.isnan(values[-1]).tolist() == [True] * 3 + [False] * 3
    assert np.isnan(values[-2]).tolist() == [False] * 3 + [True] * 3
    assert np.isfinite(values[:-2]).all()
    path.write_bytes(data[:-70])
    assert len(read_imu(path, ["imu-right"])["imu-right"].stamps) == len(values) - 1


@pytest.mark.parametrize("content", [b"", b"no VRS file" * 20])
def test_what_is_no_such_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.vrs"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.vrs cannot be read"):
        read_imu(path, ["imu-right"])
