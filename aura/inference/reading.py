"""From what a caller gives to windows of one stream, and to their embeddings."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aura.data.config import ImuInput, Input, kind_of
from aura.data.index import BadSample, ShardError
from aura.data.memory import MemoryRecord
from aura.data.sample import orientation_of
from aura.data.units import InputWarning
from aura.data.windows import Cutter, Rooms, RowData
from aura.inference.checks import doubts, fewer_sensors, places
from aura.inference.config import ModelConfig
from aura.inference.pieces import Piece, pieces, window_of
from aura.inference.recordings import imu_record, mocap_record, pose2d_record, series_record, video_record
from aura.inference.sizes import WINDOW, window_numbers
from aura.inference.spread import several, spread
from aura.model import AuraModel

ROWS = 64  # windows of one forward, or fewer: of no more numbers than one of the largest windows has
MISSING = {  # what a recording cannot be read without
    "rate_hz": "rate_hz is missing: say how many items it has a second",
    "image_size": "image_size is missing: say image_size=(width, height) of the images, in pixels",
}
MAKERS = {
    "imu": imu_record,
    "mocap": mocap_record,
    "pose2d": pose2d_record,
    "series": series_record,
    "video": video_record,
}


@dataclass(frozen=True)
class Windows:
    """Windows of B recordings of a stream.

    vectors      (N, D) float32 of unit norm, on the CPU
    recording    (N,) int64: which recording each is of; start_s (N,): its first second there; span_s (N,): seconds of it
    """

    stream: str
    vectors: Tensor
    recording: Tensor
    start_s: Tensor
    span_s: Tensor

    @property
    def means(self) -> Tensor:
        """(B, D): the normalised mean of each recording's windows."""
        count = int(self.recording.max()) + 1
        total = self.vectors.new_zeros(count, self.vectors.shape[1]).index_add_(0, self.recording, self.vectors)
        return F.normalize(total, dim=-1)


@dataclass(frozen=True)
class Given:
    """Recordings of a stream; single: one was given, and not a list of them."""

    stream: str
    records: list[MemoryRecord]
    single: bool


def read_given(
    config: ModelConfig, module: AuraModel, given: Mapping[str, Any], depth: int = 1, *, ask_places: bool = True
) -> Given:
    """What a caller gives by the name of its stream, with what else is needed to read it: see `aura.inference.spread`.

    depth         functions between the caller and this one: warnings point to the caller's line
    ask_places    sensors whose places are not said are told, of a model that was trained with them
    ValueError for what cannot be read; `InputWarning` for what looks unlike the model's training.
    """
    settings = dict(given)
    names = [name for name in settings if kind_of(name) in MAKERS]
    if len(names) != 1:
        known = ", ".join(name for name in module.towers if name != "text")
        hint = ": one at a time, and add the embeddings" if names else ""
        raise ValueError(f"give one of {known}; given: {', '.join(names) or 'none'}{hint}")
    stream = names[0]
    if stream not in module.towers:
        raise ValueError(f"{config.name} reads no {stream}; it reads {', '.join(module.towers)}")
    values = settings.pop(stream)
    for usual in ("skeleton", "channels"):  # those of the model, where nothing else is said
        if (own := getattr(config.inputs[stream], usual, None)) is not None:
            settings.setdefault(usual, own)
    many, make = several(values, stream), MAKERS[kind_of(stream)]
    if many and not len(values):
        raise ValueError(f"{stream} is an empty list")
    recordings = list(values) if many else [values]
    records, each = [], spread(settings, recordings)
    for i, (one, mine) in enumerate(zip(recordings, each)):
        where = f"recording {i}: " if many else ""
        try:
            record = make(one, **mine, stream=stream)
        except TypeError as error:
            said = str(error).partition("() ")[2] or str(error)
            missing = next((what for name, what in MISSING.items() if f"'{name}'" in said and "missing" in said), said)
            strange = [name for name in mine if name not in inspect.signature(make).parameters]
            near = difflib.get_close_matches(strange[0], inspect.signature(make).parameters, n=1) if strange else []
            raise ValueError(f"{stream}: {missing}" + (f"; did you mean {near[0]}?" if near else "")) from error
        except ValueError as error:
            raise ValueError(f"{where}{error}") from error
        if getattr(config.inputs[stream], "orientation", False) and not record.has(orientation_of(stream)):
            raise ValueError(
                f"{where}the model reads the orientation of each sensor too: give orientation=(sensors, T, 4)"
            )
        for doubt in doubts(record, stream, config.inputs[stream], config.statistics):
            warnings.warn(where + doubt, InputWarning, stacklevel=2 + depth)
        records.append(record)
    unsaid = ask_places and kind_of(stream) == "imu" and any(mine.get("placements") is None for mine in each)
    if unsaid and (there := _places_read(config, stream)):
        warnings.warn(
            f"placements are not given: the model was trained with sensors at {', '.join(there)}, and reads where they are;"
            " say placements=[...], or placements='unknown'",
            InputWarning,
            stacklevel=2 + depth,
        )
    lacking = (fewer_sensors(record, stream, config.inputs[stream], config.statistics) for record in records)
    if few := next(filter(None, lacking), ""):
        warnings.warn(few, InputWarning, stacklevel=2 + depth)
    return Given(stream, records, not many)


def _places_read(config: ModelConfig, stream: str) -> list[str]:
    """Where the sensors of training were worn; [] for a model that does not read it."""
    settings = config.inputs[stream]
    if not getattr(settings, "placements", ()) and not getattr(config.towers[stream], "placements", False):
        return []
    return places(settings, config.statistics.get(stream, {}))


def settings_for(
    config: ModelConfig, module: AuraModel, stream: str, records: Sequence[MemoryRecord], *, every: bool = False
) -> Input:
    """How a stream is read: as in training, by the places that the recipe names; where a recording has no sensor at one of
    them, or the recipe names none, or `every` is asked for, all its sensors, in their order. ValueError where the tower does
    not take so many."""
    settings = config.inputs[stream]
    if not isinstance(settings, ImuInput):
        return settings
    worn = [{sensor["placement"] for sensor in record.head["streams"][stream]["sensors"]} for record in records]
    if settings.placements and not every and all(names & set(settings.placements) for names in worn):
        return settings
    most = max(record.shape(stream)[0] for record in records)
    if most > settings.sensors and not getattr(module.towers[stream], "any_sensors", False):
        raise ValueError(f"{stream}: {most} sensors are given, the model reads {settings.sensors}: choose some")
    return ImuInput.model_validate(settings.model_dump() | {"placements": (), "sensors": max(most, settings.sensors)})


def embed_given(
    config: ModelConfig, module: AuraModel, given: Given, window_s: float | None, stride_s: float | None
) -> Windows:
    """Embeddings of all windows. ValueError for windows that the tower does not read, recordings that are too short."""
    stream, records = given.stream, given.records
    if stream not in module.compared:
        raise ValueError(f"{stream} has no embedding of its own in {config.name}: it was aligned by moments alone")
    window, whole_s = window_of(config, module, stream, window_s, stride_s)
    found = [piece for i, record in enumerate(records) for piece in pieces(i, record, window, whole_s)]
    # Each recording is read as it would be alone: what the others are changes nothing of it.
    ways = [settings_for(config, module, stream, [record]) for record in records]
    vectors = torch.zeros(len(found), config.embedding)
    for way in dict.fromkeys(ways):
        cutter = Cutter({stream: way}, window)
        mine = [i for i, piece in enumerate(found) if ways[piece.recording] == way]
        rows = max(1, min(ROWS, int(WINDOW / max(1.0, window_numbers(way, window.seconds)))))
        for part in (mine[i : i + rows] for i in range(0, len(mine), rows)):
            with torch.no_grad():
                vectors[part] = _embedded(cutter, module, given, [found[i] for i in part])
    return Windows(
        stream=stream,
        vectors=vectors,
        recording=torch.tensor([piece.recording for piece in found]),
        start_s=torch.tensor([piece.cut.start_s for piece in found], dtype=torch.float64),
        span_s=torch.tensor([piece.cut.span_s for piece in found], dtype=torch.float64),
    )


def _embedded(cutter: Cutter, module: AuraModel, given: Given, part: Sequence[Piece]) -> Tensor:
    def row(piece: Piece, out: Rooms) -> RowData:
        return cutter.cut_row(given.records[piece.recording], piece.cut, out)

    try:
        read = cutter.fill(len(part), [partial(row, piece) for piece in part]).streams[given.stream]
    except (BadSample, ShardError) as error:
        raise ValueError(str(error)) from error
    for piece, there in zip(part, read.present.tolist()):
        if not there:
            raise ValueError(_too_little(cutter, given, piece))
    device = next(module.parameters()).device
    return module.embed_stream(given.stream, read.map(lambda tensor: tensor.to(device))).cpu()


def _too_little(cutter: Cutter, given: Given, piece: Piece) -> str:
    """Why a window of a recording cannot be read."""
    lasts = given.records[piece.recording].entry["duration_s"]
    least = cutter.window.min_cover * piece.cut.span_s
    if kind_of(given.stream) == "series" and lasts >= least:
        end = min(lasts, piece.cut.start_s + piece.cut.span_s)
        return (
            f"recording {piece.recording} has too few values that are not missing from {piece.cut.start_s:g} to {end:g} s: the"
            f" model needs at least {least:.3g} s of them there; cut the recording there"
        )
    return (
        f"recording {piece.recording} lasts {lasts:.3g} s: it must last at least {least:.3g} s, for the model reads windows of"
        f" {piece.cut.span_s:.3g} s"
    )


def unit_query(query: Any, windows: Windows) -> Tensor:
    """An embedding (D,), or (1, D), of any library at length 1, to be compared with windows. ValueError where it does not fit
    them."""
    if not isinstance(windows, Windows):
        raise ValueError(f"windows is a {type(windows).__name__}: give what embed(..., by_window=True) gives")
    try:
        vector = torch.as_tensor(query).detach().to(windows.vectors)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the query is a {type(query).__name__}: give words, or one embedding (D,)") from error
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.ndim != 1:
        raise ValueError(f"the query has shape {tuple(vector.shape)}: give one embedding (D,) at a time")
    width = windows.vectors.shape[1]
    if len(vector) != width:
        raise ValueError(f"the query has {len(vector)} numbers, each window {width}: embed both by the same model")
    for name, values in (("the query", vector), ("windows", windows.vectors)):
        if bad := int((~values.isfinite()).sum()):
            raise ValueError(f"{name}: {bad} of {values.numel()} numbers are not finite")
    if not vector.any():
        raise ValueError("the query is all zeros: it points nowhere")
    return F.normalize(vector, dim=-1)
