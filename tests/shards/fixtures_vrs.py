"""VRS files of an Aria headset that hold its two IMUs alone, written record by record from the published layout.

No library writes such files. Little-endian, packed: a file header, a description record (what the streams are), then a
configuration and an empty state record per stream, then the data of both units, interleaved by time. There is no index
record: readers rebuild it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shards.aria_vrs import UnitData

IMU = 1202  # type id of the stream
INSTANCES = {"imu-right": 1, "imu-left": 2}  # of a headset of the first generation
RATES = {"imu-right": 1000.0, "imu-left": 800.0}  # nominal
MODELS = {"imu-right": "BMI085", "imu-left": "BMI263"}
STATE, CONFIGURATION, DATA = 1, 2, 3

_RECORD = np.dtype(
    [("size", "<u4"), ("previous", "<u4"), ("type", "<i4"), ("version", "<u4"), ("time", "<f8"),
     ("instance", "<u2"), ("kind", "u1"), ("compression", "u1"), ("uncompressed", "<u4")]
)  # fmt: skip
_SAMPLE = np.dtype(
    [("header", _RECORD), ("acc_valid", "u1"), ("gyro_valid", "u1"), ("mag_valid", "u1"), ("temperature", "<f8"),
     ("capture", "<i8"), ("processing_clock", "<i8"), ("arrival", "<i8"), ("processing", "<i8"),
     ("acc", "<f4", 3), ("gyro", "<f4", 3), ("mag", "<f4", 3)]
)  # fmt: skip
_FIXED = [("stream_index", "uint32_t", 0), ("device_id", "uint64_t", 4), ("nominal_rate", "double", 12)] + [
    (f"has_{what}", "Bool", 20 + i) for i, what in enumerate(("accelerometer", "gyroscope", "magnetometer"))
]
_STRINGS = ("device_type", "device_version", "device_serial", "sensor_model", "factory_calibration")
_STRINGS += ("online_calibration", "description")
_TIMES = ("capture_timestamp_ns", "capture_timestamp_in_processing_clock_domain_ns", "arrival_timestamp_ns")
_TIMES += ("processing_start_timestamp_ns",)


@dataclass(frozen=True)
class Unit:
    """One IMU: `signal` maps device times (n,) int64 ns to (n, 6) m/s^2 and rad/s.

    step_ns   true step between samples (1e9 / 798.2 for a slow left unit); jitter_ns: largest deviation of a stamp
    gap_ns    no samples from the first to the second device time
    nan_ns    the sample at or after this device time holds NaN
    """

    signal: Callable[[np.ndarray], np.ndarray]
    step_ns: float
    jitter_ns: float = 0.0
    gap_ns: tuple[int, int] | None = None
    nan_ns: int | None = None

    def stamps(self, start_ns: int, end_ns: int) -> np.ndarray:
        """Device times (n,) int64 ns of its samples, strictly increasing."""
        count = int((end_ns - start_ns) / self.step_ns) + 1
        noise = np.random.default_rng(count).uniform(-self.jitter_ns, self.jitter_ns, count)
        at = np.round(start_ns + np.arange(count) * self.step_ns + noise).astype(np.int64)
        if self.gap_ns:
            at = at[(at < self.gap_ns[0]) | (at >= self.gap_ns[1])]
        return at


def write_vrs(path: Path, units: dict[str, Unit], start_ns: int, end_ns: int, *, cut_bytes: int = 0) -> Path:
    """A VRS file with the units named by their label, from start to end; `cut_bytes` are missing at its end."""
    names = sorted(units, key=INSTANCES.__getitem__)
    description = struct.pack("<I", len(names)) + b"".join(_stream_tags(name) for name in names)
    description += _tags({"device_type": "Aria", "device_serial": "1WM000000000000", "session_id": "fixture"})
    payloads = [(2, 2, 0, DATA, 0.0, description)]
    payloads += [(IMU, 2, INSTANCES[name], CONFIGURATION, 5e-324, _configuration(name)) for name in names]
    payloads += [(IMU, 2, INSTANCES[name], STATE, 1e-323, b"") for name in names]
    out, previous = bytearray(_file_header()), 0
    for kind, version, instance, record, time, payload in payloads:
        size = _RECORD.itemsize + len(payload)
        out += struct.pack("<IIiIdHBBI", size, previous, kind, version, time, instance, record, 0, 0) + payload
        previous = size
    samples = np.concatenate([_samples(name, units[name], start_ns, end_ns) for name in names])
    samples = samples[np.argsort(samples["capture"], kind="stable")]
    samples["header"]["previous"] = _SAMPLE.itemsize
    samples["header"]["previous"][0] = previous
    out += samples.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out[: len(out) - cut_bytes])
    return path


def read_vrs(path: Path, labels: Sequence[str]) -> dict[str, UnitData]:
    """What `shards.aria_vrs.read_imu` gives, of a file that `write_vrs` wrote: for where its library is not installed."""
    data, at = path.read_bytes(), 80
    rows: dict[int, list[np.void]] = {}
    if len(data) < at or data[:8] != _file_header()[:8]:
        raise ValueError(f"{path.name} cannot be read")
    while at + _RECORD.itemsize <= len(data):
        header = np.frombuffer(data, _RECORD, 1, at)[0]
        if (header["type"], header["kind"]) == (IMU, DATA) and at + header["size"] <= len(data):
            rows.setdefault(int(header["instance"]), []).append(np.frombuffer(data, _SAMPLE, 1, at)[0])
        at += int(header["size"])
    found = {label: np.array(rows[INSTANCES[label]]) for label in labels if INSTANCES[label] in rows}
    if not rows:
        raise ValueError(f"{path.name} cannot be read")
    return {n: UnitData(x["capture"].copy(), np.concatenate([x["acc"], x["gyro"]], 1)) for n, x in found.items()}


def _file_header() -> bytes:
    magic = 0x69736956, 0x65526E6F
    return struct.pack("<IIQIIqqqQQQII", *magic, 1, 80, _RECORD.itemsize, 0, 80, 0, 0, 0, 0, 0x64726F63, 0x32535256)


def _samples(name: str, unit: Unit, start_ns: int, end_ns: int) -> np.ndarray:
    at = unit.stamps(start_ns, end_ns)
    values = np.asarray(unit.signal(at), np.float32)
    if unit.nan_ns is not None:
        values[np.searchsorted(at, unit.nan_ns)] = np.nan
    out = np.zeros(len(at), _SAMPLE)
    header = out["header"]
    header["size"], header["type"], header["version"] = _SAMPLE.itemsize, IMU, 2
    header["time"], header["instance"], header["kind"] = at / 1e9, INSTANCES[name], DATA
    out["acc_valid"] = out["gyro_valid"] = 1
    out["temperature"] = np.nan
    out["capture"] = out["processing"] = at
    out["processing_clock"] = out["arrival"] = -1
    out["acc"], out["gyro"] = values[:, :3], values[:, 3:]
    return out


def _configuration(name: str) -> bytes:
    fixed = struct.pack("<IQd???", INSTANCES[name] - 1, INSTANCES[name] - 1, RATES[name], True, True, False)
    texts = [text.encode() for text in ("Aria", "DVT-S", "fixture", MODELS[name], "", "", "IMU of a fixture")]
    starts = np.cumsum([0] + [len(text) for text in texts[:-1]])
    return fixed + b"".join(struct.pack("<II", at, len(text)) for at, text in zip(starts, texts)) + b"".join(texts)


def _tags(tags: dict[str, str]) -> bytes:
    out = struct.pack("<I", len(tags))
    for pair in tags.items():
        for text in pair:
            out += struct.pack("<I", len(text.encode())) + text.encode()
    return out


def _stream_tags(name: str) -> bytes:
    layout = [{"name": n, "type": f"DataPieceValue<{kind}>", "offset": at} for n, kind, at in _FIXED]
    layout += [{"name": n, "type": "DataPieceString", "index": i} for i, n in enumerate(_STRINGS)]
    data = [
        {"name": f"{what}_valid", "type": "DataPieceValue<Bool>", "offset": i}
        for i, what in enumerate(("accelerometer", "gyroscope", "magnetometer"))
    ]
    data += [{"name": "temperature_deg_c", "type": "DataPieceValue<double>", "offset": 3}]
    data += [{"name": n, "type": "DataPieceValue<int64_t>", "offset": 11 + 8 * i} for i, n in enumerate(_TIMES)]
    data += [
        {"name": what, "type": "DataPieceArray<float>", "offset": 43 + 12 * i, "size": 3}
        for i, what in enumerate(("accelerometer", "gyroscope", "magnetometer"))
    ]
    number = INSTANCES[name] - 1
    user = {
        "device_id": str(number),
        "device_type": "Aria",
        "device_serial": "1WM000000000000",
        "session_id": "fixture",
    }
    layouts = {
        "RF:Configuration:2": "data_layout",
        "RF:Data:2": "data_layout/size=79",
        "VRS_Original_Recordable_Name": "IMU Data (SLAM)",
        "VRS_Recordable_Flavor": "device/aria",
        "VRS_Serial_Number": f"{number + 1:016x}",
        "DL:Configuration:2:0": json.dumps({"data_layout": layout}),
        "DL:Data:2:0": json.dumps({"data_layout": data}),
    }
    return struct.pack("<iH", IMU, INSTANCES[name]) + _tags(user) + _tags(layouts)
