"""A model on the device: windows of a running IMU stream to classes, by numpy, scipy and onnxruntime alone.

Needs no torch: on a device the wheel, installed with `--no-deps`, and `pip install numpy scipy onnxruntime` are enough. The folder is what
tools/export.py wrote, format `aura-edge/1`: `imu.onnx` gives the embedding of a window, `classes.npz` the embeddings of the
classes' words, `edge.json` says what goes in.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import math
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aura.body.placements import placement_id
from aura.data.resample import LOBES, PASS, Places, even_places, needed, resample_at
from aura.data.units import ACC, GYRO, InputWarning, acceleration_doubt, factor, rotation_doubt

FORMAT = "aura-edge/1"
NEAREST = 3  # names told in place of one that is not known
LOOKED_AT = 3  # windows from the start of a stream whose units are looked at
FIELDS = ("rate_hz", "seconds", "items", "stride_s", "min_cover", "whole", "sensors", "any_sensors", "placements")


class EdgeError(ValueError):
    """A folder or a stream that does not fit; the message says what to do."""


class Result(NamedTuple):
    """A window from `start_s` to `end_s` of the stream: the nearest class, all probabilities, the unit embedding (D,)."""

    start_s: float
    end_s: float
    label: str
    probabilities: dict[str, float]
    embedding: np.ndarray


class Edge:
    """An exported model: arrays of windows to embeddings, embeddings to classes.

    spec       the content of edge.json
    names      (C,) of the classes; embeddings (C, D) float32 of unit norm; scale: what their cosines are multiplied by
    """

    def __init__(self, folder: str | Path, model: str = "imu.onnx", threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EdgeError("onnxruntime is missing: pip install onnxruntime") from error
        self.folder = Path(folder)
        self.spec = read_spec(self.folder, model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        path = self.folder / model
        try:
            self.session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has a kind of its own for each fault
            said = str(error).strip().partition("\n")[0]
            raise EdgeError(
                f"onnxruntime {onnxruntime.__version__} cannot run {path}: {said}; take a newer one, or export the model"
                " again"
            ) from error
        found, wanted = [x.name for x in self.session.get_inputs()], [x["name"] for x in self.spec["inputs"]]
        if found != wanted:
            raise EdgeError(f"{self.folder / model} takes {', '.join(found)}, edge.json says {', '.join(wanted)}")
        self.width = int(self.session.get_outputs()[0].shape[-1])
        self.known = read_classes(self.folder / "classes.npz", self.width)
        self.names, self.embeddings, self.scale = self.known

    def set_labels(self, labels: Sequence[str] | None) -> None:
        """Some of the exported classes from now on, in this order; None: all. EdgeError for one that is not among them."""
        names, embeddings, scale = self.known
        if isinstance(labels, str):
            raise EdgeError(f"labels is {labels!r}: give a list of classes")
        for label in labels or ():
            if label not in names:
                near = nearest(str(label), names)
                raise EdgeError(
                    f"{label!r} is not among the {len(names)} classes of {self.folder / 'classes.npz'}: the nearest"
                    f" {'is' if len(near) == 1 else 'are'} {', '.join(map(repr, near))}; for others give their embeddings:"
                    " set_classes"
                )
        chosen = range(len(names)) if labels is None else [names.index(label) for label in labels]
        self.set_classes([names[i] for i in chosen], embeddings[list(chosen)], scale)

    def set_classes(self, names: Sequence[str], embeddings: np.ndarray, scale: float | None = None) -> None:
        """Other classes from now on: names (C,) and embeddings (C, D), such as means of windows; given unit norm here."""
        self.names, self.embeddings, self.scale = checked_classes(
            names, embeddings, self.scale if scale is None else scale, self.width, "set_classes"
        )

    def embed(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Unit embeddings (B, D) float32 of windows, arrays as `spec["inputs"]` says."""
        return self.session.run(None, {x["name"]: inputs[x["name"]] for x in self.spec["inputs"]})[0]

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """(B, C) float64: softmax of the scaled cosines of windows (B, D) and classes."""
        scores = self.scale * (embeddings.astype(np.float64) @ self.embeddings.T)
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        return odds / odds.sum(-1, keepdims=True)


class StreamingClassifier:
    """Classes of the windows of a stream, as its samples come in.

        classifier = StreamingClassifier("edge", rate_hz=50, units="g", placements=["left wrist"])
        for samples in device:                      # (n, 6), any n: acceleration, then angular velocity
            for result in classifier.push(samples):
                print(result.start_s, result.label)

    rate_hz       of the samples; brought to the model's by the filter of training. A window is given as soon as all samples
                  that it depends on are there: `delay_s` after its end
    units         of the accelerometer: m/s^2, g, mg; gyro_units: rad/s, deg/s
    placements    where each sensor is worn, names of aura/body/placements.py
    stride_s      from a window's start to the next; default: as the model was evaluated
    labels        some of the exported classes; see also `edge.set_labels`, `edge.set_classes`, at any time
    model         `imu.int8.onnx`: the quantised one

    Samples that are not finite are taken for missing; windows that lack more than the model's min_cover allows give nothing.
    `aura.InputWarning`, once, where the first windows look like those of another unit than is said. EdgeError where the folder
    or the stream does not fit.
    """

    def __init__(
        self,
        folder: str | Path,
        rate_hz: float,
        units: str = "m/s^2",
        gyro_units: str = "rad/s",
        placements: Sequence[str] = ("unknown",),
        stride_s: float | None = None,
        labels: Sequence[str] | None = None,
        model: str = "imu.onnx",
        threads: int = 1,
    ) -> None:
        self.edge = Edge(folder, model, threads)
        self.spec = self.edge.spec
        try:
            factors = [factor(units, ACC, "units")] * 3 + [factor(gyro_units, GYRO, "gyro_units")] * 3
        except ValueError as error:
            raise EdgeError(str(error)) from error
        self.rate_hz, self.factors = rate_hz, np.array(factors, np.float32)
        self.stride_s = self.spec["stride_s"] if stride_s is None else stride_s
        if not (rate_hz > 0 and self.stride_s > 0):
            raise EdgeError(f"rate_hz {rate_hz} and stride_s {self.stride_s} must be above 0")
        self.sensors, self.worn = len(placements), list(placements)
        self.slots = slots_of(self.spec, placements)
        self.placement = np.zeros((1, self._slot_count()), np.int64)
        self.placement[0, self.slots] = [placement_id(name) for name in placements]
        if labels is not None:
            self.edge.set_labels(labels)
        self.reset()

    def reset(self) -> None:
        """Forgets the stream: the next sample is at second 0."""
        self._items = np.zeros((0, self.sensors, 6), np.float32)  # what a window to come depends on
        self._begin = 0  # number of the first of these
        self._window = 0  # number of the next window
        self._channels = 0
        self._looked_at = 0  # windows whose units were looked at
        self._doubts: list[str] = []  # what is odd of them

    @property
    def delay_s(self) -> float:
        """Seconds from the end of a window to the last sample that it depends on: half the filter's length."""
        at = self._places(0)
        return 0.0 if at.aligned else math.ceil(LOBES * max(1.0, at.step / PASS)) / self.rate_hz

    def push(self, samples: np.ndarray) -> list[Result]:
        """Takes the next samples, (n, 6) of one sensor or (S, n, 6); 3 channels: accelerometers alone. Gives the windows that
        they complete."""
        items = self._taken(samples)
        self._items = np.concatenate([self._items, items])
        results = self._completed(None)
        self._tell()
        return results

    def flush(self) -> list[Result]:
        """The stream has ended: the windows that lie in it whole, and for whose filter `push` still waited."""
        results = self._completed(self._begin + len(self._items))
        self._tell()
        return results

    def classify(self, samples: np.ndarray) -> list[Result]:
        """The windows of a whole recording, (n, 6) or (S, n, 6), apart from the stream: at the stride from its start; one,
        partly empty, of a shorter one. With a model of whole clips (`spec["whole"]`): the recording as one window."""
        alone = copy.copy(self)
        alone.reset()
        items = alone._taken(samples)
        if len(items) == 0:
            return []
        seconds = len(items) / self.rate_hz
        if self.spec["whole"]:
            at = even_places(0.0, len(items) / self.spec["items"], self.spec["items"])
            results = alone._results(items, at, 0.0, seconds)
        else:
            last = math.floor((seconds - self.spec["seconds"]) / self.stride_s + 1e-6)
            results = [result for window in range(max(last, 0) + 1) for result in alone._of(items, window)]
        alone._tell()
        return results

    def _taken(self, samples: np.ndarray) -> np.ndarray:
        """Samples as items (n, S, 6) in m/s^2 and rad/s."""
        samples = np.asarray(samples, np.float32)
        samples = samples[None] if samples.ndim == 2 else samples
        if samples.ndim != 3 or samples.shape[0] != self.sensors or samples.shape[2] not in (3, 6):
            raise EdgeError(
                f"samples of shape {samples.shape}: {self.sensors} sensors need ({self.sensors}, n, 6), one (n, 6) too; 3"
                " channels where there is no gyroscope"
            )
        channels = samples.shape[2]
        if self._channels not in (0, channels):
            raise EdgeError(f"samples of {channels} channels in a stream of {self._channels}: reset() begins another")
        self._channels = channels
        items = np.zeros((samples.shape[1], self.sensors, 6), np.float32)
        items[..., :channels] = samples.swapaxes(0, 1)
        return items * self.factors

    def _places(self, window: int) -> Places:
        step = self.rate_hz / self.spec["rate_hz"]
        return even_places(window * self.stride_s * self.rate_hz, step, self.spec["items"])

    def _completed(self, count: int | None) -> list[Result]:
        """Results of the next windows as far as the samples go; count: of all samples, where no more will come."""
        results, there = [], self._begin + len(self._items)
        while True:
            at = self._places(self._window)
            begin, end = needed(2**62 if count is None else count, at)
            lies_inside = round(at.first + at.step * at.count, 6) <= there
            if end > there or not lies_inside:
                break
            results += self._of(self._items, self._window, self._begin, begin, end)
            self._window += 1
        begin, _ = needed(2**62, self._places(self._window))
        kept = min(max(begin - self._begin, 0), len(self._items))
        self._items = self._items[kept:].copy()
        self._begin += kept
        return results

    def _of(
        self, items: np.ndarray, window: int, first: int = 0, begin: int | None = None, end: int | None = None
    ) -> list[Result]:
        """A window of items whose first one has number `first`, from the items [begin, end) that it needs."""
        at = self._places(window)
        if begin is None or end is None:
            begin, end = needed(len(items), at)
        start = window * self.stride_s
        return self._results(items[begin - first : end - first], at.after(begin), start, start + self.spec["seconds"])

    def _results(self, items: np.ndarray, at: Places, start_s: float, end_s: float) -> list[Result]:
        known = np.asarray(np.isfinite(items).all(-1))
        values, valid = resample_at(np.where(known[..., None], items, 0), None if known.all() else known, at)
        if valid.ndim == 1:
            valid = np.repeat(valid[:, None], self.sensors, 1)
        if valid.mean(0).max() < self.spec["min_cover"] - 1e-6:
            return []
        self._look_at(values, valid)
        vector = self.edge.embed(self._arrays(values, valid, at))
        odds = self.edge.probabilities(vector)[0]
        names = self.edge.names
        return [Result(start_s, end_s, names[int(odds.argmax())], dict(zip(names, odds.tolist())), vector[0])]

    def _arrays(self, values: np.ndarray, valid: np.ndarray, at: Places) -> dict[str, np.ndarray]:
        """What the graph takes, of values (T, S, 6) and valid (T, S)."""
        slots, count = self._slot_count(), self.spec["items"]
        arrays = {
            "values": np.zeros((1, slots, count, 6), np.float32),
            "valid": np.zeros((1, slots, count), bool),
            "placement": self.placement,
            "channel_mask": np.zeros((1, slots, 6), bool),
            "step_s": (at.steps() / np.float32(self.rate_hz))[None],
        }
        arrays["values"][0, self.slots] = values.swapaxes(0, 1)
        arrays["valid"][0, self.slots] = valid.T
        arrays["channel_mask"][0, self.slots, : self._channels] = True
        return arrays

    def _look_at(self, values: np.ndarray, valid: np.ndarray) -> None:
        """Notes what is odd of the units of a window, values (T, S, 6), valid (T, S), of the first ones until one is."""
        if self._looked_at == LOOKED_AT:
            return
        self._looked_at += 1
        known, found = self.spec.get("statistics", {}), []
        for sensor, place in enumerate(self.worn):
            there = values[valid[:, sensor], sensor]
            if len(there) == 0:
                continue
            where = "" if place == "unknown" else f" at {place}"
            acc, gyro = (float(np.median(np.linalg.norm(part, axis=-1))) for part in (there[:, :3], there[:, 3:]))
            found += [acceleration_doubt(acc, known, where), rotation_doubt(gyro, known, where)]
        self._doubts = [doubt for doubt in found if doubt]
        if self._doubts:
            self._looked_at = LOOKED_AT

    def _tell(self) -> None:
        """One warning, at the line that called `push`, `flush` or `classify`."""
        if self._doubts:
            warnings.warn("; ".join(self._doubts), InputWarning, stacklevel=3)
            self._doubts = []

    def _slot_count(self) -> int:
        return self.sensors if self.spec["any_sensors"] else self.spec["sensors"]


def slots_of(spec: dict[str, Any], placements: Sequence[str]) -> list[int]:
    """Which of the graph's slots each sensor takes. EdgeError where the model knows no sensor there, or has too few slots."""
    for name in placements:
        try:
            placement_id(name)
        except ValueError as error:
            raise EdgeError(str(error)) from error
    worn = spec["placements"]
    if not placements:
        raise EdgeError("placements is empty: name the place of each sensor, or 'unknown'")
    if spec["any_sensors"]:
        return list(range(len(placements)))
    if worn and (not set(placements) <= set(worn) or len(set(placements)) < len(placements)):
        raise EdgeError(f"placements {list(placements)}: the model reads one sensor at each of {', '.join(worn)}")
    if len(placements) > spec["sensors"]:
        raise EdgeError(f"{len(placements)} sensors: the model reads {spec['sensors']} at most")
    return [worn.index(name) for name in placements] if worn else list(range(len(placements)))


def nearest(word: str, known: Sequence[str]) -> list[str]:
    """The few of some words that are spelled most alike, whatever their case."""
    by_case = {name.lower(): name for name in known}
    return [by_case[name] for name in difflib.get_close_matches(word.strip().lower(), by_case, n=NEAREST, cutoff=0.0)]


def read_spec(folder: Path, model: str) -> dict[str, Any]:
    """The content of edge.json, with the model's file compared with it. EdgeError."""
    path = folder / "edge.json"
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EdgeError(f"{folder} holds no edge.json: name a folder that tools/export.py wrote") from None
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path} cannot be read: {error}; export the model again") from error
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        found = spec.get("format") if isinstance(spec, dict) else type(spec).__name__
        raise EdgeError(f"{path}: format is {found!r}, this version of aura reads {FORMAT!r}")
    missing = [name for name in (*FIELDS, "inputs", "files") if name not in spec]
    if missing:
        raise EdgeError(f"{path} lacks {', '.join(missing)}; export the model again")
    about = spec["files"].get(model)
    if about is None or not (folder / model).is_file():
        there = [name for name in spec["files"] if name.endswith(".onnx")]
        raise EdgeError(f"{folder} holds no {model}, but {', '.join(there)}; the quantised one is written with --int8")
    if hashlib.sha256((folder / model).read_bytes()).hexdigest() != about["sha256"]:
        raise EdgeError(
            f"{folder / model} is not the file that edge.json describes: it was changed; copy or export again"
        )
    return spec


def read_classes(path: Path, width: int) -> tuple[list[str], np.ndarray, float]:
    """Names, unit embeddings (C, D) and scale of a classes.npz. EdgeError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names, embeddings, scale = file["names"].tolist(), file["embeddings"], float(file["scale"])
    except FileNotFoundError:
        raise EdgeError(f"{path} is missing: write_classes makes one") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise EdgeError(f"{path} does not hold names, embeddings and scale: {error}") from error
    return checked_classes(names, embeddings, scale, width, str(path))


def write_classes(path: str | Path, names: Sequence[str], embeddings: np.ndarray, scale: float) -> None:
    """A classes.npz for an exported folder: names (C,), embeddings (C, D), what their cosines are multiplied by."""
    embeddings = np.asarray(embeddings, np.float32)
    names, embeddings, scale = checked_classes(names, embeddings, scale, embeddings.shape[-1], "write_classes")
    np.savez(path, names=np.array(names), embeddings=embeddings, scale=np.float64(scale))


def checked_classes(
    names: Sequence[str], embeddings: np.ndarray, scale: float, width: int, where: str
) -> tuple[list[str], np.ndarray, float]:
    """The same, of unit norm. EdgeError that says what does not fit."""
    names, embeddings = [str(name) for name in names], np.asarray(embeddings, np.float32)
    if embeddings.shape != (len(names), width) or not names:
        raise EdgeError(f"{where}: {len(names)} names and embeddings {embeddings.shape}; the model needs (C, {width})")
    if len(set(names)) < len(names):
        raise EdgeError(f"{where}: a class is named twice")
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not np.isfinite(embeddings).all() or not norms.all() or not (math.isfinite(scale) and scale > 0):
        raise EdgeError(f"{where}: embeddings must be finite and not zero, the scale above 0")
    return names, embeddings / norms, scale
