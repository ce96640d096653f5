"""A model's IMU tower for devices: ONNX, torch.export, int8, and the folder that `aura.streaming` reads.

The graph ends at the embedding of a window. The classes' embeddings lie beside it, in `classes.npz`: comparing a window with
them is one small product, which numpy does; so classes change without another export, and the embedding serves for search, for
classes that are means of windows, and for other languages, too.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import aura
from aura.body.placements import PLACEMENTS
from aura.data.batch import Stream
from aura.data.config import ImuInput
from aura.data.cut import items
from aura.data.files import sha256_of, write_json
from aura.export_report import random_windows, report, table
from aura.inference.model import Aura
from aura.model import AuraModel
from aura.streaming import FORMAT, EdgeError, checked_classes, write_classes
from aura.tasks.zeroshot import Prompts, class_embeddings
from aura.towers.tower import Tower

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
EXAMPLE = (2, 3)  # windows and sensors that a graph is traced with; it is then checked with others
DEFAULT_SCALE = 1 / 0.07  # of cosines that were never compared with words: where training starts
DTYPES = {torch.float32: "float32", torch.bool: "bool", torch.int64: "int64"}


class ExportError(ValueError):
    """What cannot be exported, and what to do."""


@dataclass(frozen=True)
class Classes:
    """names (C,), embeddings (C, D) of unit norm, the factor of their cosines, and the sentences that they are of."""

    names: list[str]
    embeddings: np.ndarray
    scale: float
    sentences: dict[str, list[str]] | None = None


class ImuExport(nn.Module):
    """Windows of an IMU stream to unit embeddings (B, D), as `AuraModel.embed_stream` gives of rows that are present.

    values (B, S, T, 6) float32 in m/s^2 and rad/s, T items at the tower's rate; valid (B, S, T) bool, False throughout for a
    sensor that a row lacks; placement (B, S) int64; channel_mask (B, S, 6) bool; for a model of whole clips step_s (B, T)
    float32, seconds in the recording from the item before.
    """

    def __init__(self, model: AuraModel, stream: str) -> None:
        super().__init__()
        self.tower, self.head = model.towers[stream], model.heads[stream]

    def forward(
        self, values: Tensor, valid: Tensor, placement: Tensor, channel_mask: Tensor, step_s: Tensor | None = None
    ) -> Tensor:
        present = valid.new_ones(valid.shape[0])
        stream = Stream(values, present, valid, None, channel_mask, placement, step_s=step_s)
        return F.normalize(self.head(self.tower(stream.cleaned()).pooled), dim=-1)


def exportable(aura_model: Aura, stream: str | None = None) -> str:
    """The IMU stream that is exported: `stream`, or the model's only one. ExportError."""
    config, model = aura_model.config, aura_model.module
    there = [name for name in model.towers if isinstance(config.inputs[name], ImuInput)]
    if not there:
        raise ExportError(f"{config.name} has no IMU tower, it has {', '.join(model.towers)}: export another model")
    if stream is None and len(there) > 1:
        raise ExportError(f"{config.name} has the IMU streams {', '.join(there)}: name one (--stream)")
    name = there[0] if stream is None else stream
    if name not in there:
        raise ExportError(f"stream {name}: the IMU streams of {config.name} are {', '.join(there)}")
    if name not in model.compared:
        raise ExportError(
            f"{name} has no embedding of its own in {config.name}: it was aligned by moments, or classified"
        )
    if cast(ImuInput, config.inputs[name]).orientation:
        raise ExportError(
            f"inputs.{name}.orientation: the tower reads orientations, which the exported graph does not take"
        )
    return name


def classes_in_words(aura_model: Aura, stream: str, prompts: Prompts) -> Classes:
    """Embeddings of the classes' sentences. ExportError for a model that knows no words."""
    try:
        scale = aura_model.scale(stream)
        vectors = class_embeddings(prompts, aura_model.embed_text)
    except ValueError as error:
        raise ExportError(
            f"{error}. Or give the classes as embeddings (--classes FILE.npz, names (C,) and embeddings (C, D)), such as the"
            " means of each class's windows"
        ) from error
    sentences = {name: prompts.sentences(name) for name in prompts.classes}
    return Classes(list(prompts.classes), vectors.cpu().numpy(), scale, sentences)


def classes_of_file(path: Path, aura_model: Aura, stream: str) -> Classes:
    """Classes of a npz with names (C,), embeddings (C, D) and, where it has one, a scale; else the model's own. EdgeError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names, embeddings = file["names"].tolist(), file["embeddings"]
            scale = float(file["scale"]) if "scale" in file else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise EdgeError(f"{path}: needs the arrays names (C,) and embeddings (C, D): {error}") from error
    if scale is None:
        try:
            scale = aura_model.scale(stream)
        except ValueError:
            scale = DEFAULT_SCALE
    return Classes(*checked_classes(names, embeddings, scale, aura_model.config.embedding, str(path)))


def check_packages() -> None:
    """ExportError naming what is not installed."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise ExportError(f"{', '.join(missing)} missing: pip install {' '.join(PACKAGES)} (the extra edge)")


def export_program(module: ImuExport, example: dict[str, Tensor], *, any_sensors: bool) -> torch.export.ExportedProgram:
    """The graph for any number of windows, and of sensors where the tower reads any; the items of a window are fixed.

    Fixed, because the orientation is a prefix product in log2(T) steps, which are laid out in the graph. ExportError.
    """
    batch, sensors = torch.export.Dim("batch", min=1), torch.export.Dim("sensors", min=1)
    by_sensor: dict[int, Any] = {0: batch, 1: sensors} if any_sensors else {0: batch}
    shapes = {name: {0: batch} if name == "step_s" else by_sensor for name in example}
    try:
        with torch.no_grad():
            program = torch.export.export(module, (), kwargs=example, dynamic_shapes=shapes)
    except Exception as error:  # of many kinds, and long
        kind = type(module.tower).__name__
        raise ExportError(
            f"the tower {kind} cannot be written as a graph: torch.export says: {first_cause(error)}"
        ) from error
    for graph in (part.graph for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)):
        for node in graph.nodes:
            node.meta.pop("stack_trace", None)  # names the folders of this machine
    return program


def export_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes the graph as one ONNX file without traces of the exporting code, whose output is `embeddings` (`embedding` is
    taken, by the lookup of placements). ExportError."""
    with converting("the graph cannot be converted to ONNX"):
        onnx = torch.onnx.export(program, dynamo=True, verbose=False, output_names=["embeddings"])
        assert onnx is not None
        for node in onnx.model.graph.all_nodes():
            node.metadata_props.clear()
        onnx.save(path, external_data=False)


def quantise(path: Path, out: Path) -> None:
    """Writes the graph with 8-bit weights of its matrix products, whose other side is quantised as it runs. ExportError."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with converting("the graph cannot be written with 8-bit weights (leave --int8 out for the others)"):
        quantize_dynamic(
            path, out, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
        )


@contextmanager
def converting(fault: str) -> Iterator[None]:
    """ExportError for whatever the converters raise, whose own messages are pages long; what they tell of themselves, and nobody
    here can change, is not told."""
    log = logging.getLogger()
    log.addFilter(_no_advice)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    except OSError:  # no room
        raise
    except Exception as error:
        versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *PACKAGES))
        raise ExportError(
            f"{fault}: {first_cause(error)}. Nothing was written. Here are {versions}; where another of them is newer than aura"
            " knows, take an older one, or a newer aura"
        ) from error
    finally:
        log.removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    """All but onnxruntime's advice to optimise a graph before it is quantised, which `imu.int8.onnx` is measured without."""
    return "run pre-processing before quantization" not in record.getMessage()


def first_cause(error: BaseException) -> str:
    """The kind of the error that began it, and the first line that it says."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def export(
    out: Path,
    aura_model: Aura,
    classes: Classes,
    stream: str | None = None,
    *,
    int8: bool = False,
    measure: Callable[[dict[str, Any], Path], None] | None = None,
) -> dict[str, Any]:
    """Writes the folder (which must be empty or new) whole or not at all, checks it, and gives what report.json holds.

    stream     the IMU stream, where the model has several; int8: also a graph with 8-bit weights
    measure    puts more into the report, of the files in the folder that it is given
    ExportError for what cannot be exported, OSError where there is no room.
    """
    check_packages()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} is {'not empty' if out.is_dir() else 'a file'}: name another folder, or delete it")
    stream, out = exportable(aura_model, stream), out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.writing-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        found = write_files(temporary, aura_model, classes, stream, int8)
        if measure is not None:
            measure(found, temporary)
        write_json(temporary / "report.json", found)
        title = f"# {aura_model.config.name}, step {aura_model.config.step}, for devices"
        (temporary / "report.md").write_text(f"{title}\n\n{table(found)}", encoding="utf-8")
        if out.exists():
            out.rmdir()
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found


def write_files(out: Path, aura_model: Aura, classes: Classes, stream: str, int8: bool) -> dict[str, Any]:
    """The graphs, classes.npz and edge.json in a folder that is there, and a report of them."""
    config, model = aura_model.config, aura_model.module
    window, input = config.window, cast(ImuInput, config.inputs[stream])
    tower = cast(Tower, model.towers[stream])
    count, whole = items(window.seconds, input.rate_hz), window.whole
    module = ImuExport(model, stream).eval().requires_grad_(False)
    sensors = EXAMPLE[1] if tower.any_sensors else input.sensors
    example = random_windows(EXAMPLE[0], sensors, count, whole=whole)
    program = export_program(module, example, any_sensors=tower.any_sensors)
    torch.export.save(program, out / "imu.pt2")
    export_onnx(program, out / "imu.onnx")
    if int8:
        quantise(out / "imu.onnx", out / "imu.int8.onnx")
    write_classes(out / "classes.npz", classes.names, classes.embeddings, classes.scale)
    files = [name for name in ("imu.onnx", "imu.int8.onnx", "imu.pt2") if (out / name).exists()]
    dims = ["batch", "sensors" if tower.any_sensors else input.sensors]
    write_json(
        out / "edge.json",
        {
            "format": FORMAT,
            "aura": aura.__version__,
            "model": {"name": config.name, "step": config.step, "stream": stream},
            "rate_hz": input.rate_hz,
            "seconds": window.seconds,
            "items": count,
            "stride_s": window.stride_s or window.seconds,
            "min_cover": window.min_cover,
            "whole": whole,
            "units": {"acceleration": "m/s^2", "angular velocity": "rad/s"},
            "sensors": input.sensors,
            "any_sensors": tower.any_sensors,
            "placements": list(input.placements),
            "statistics": {k: v for k, v in config.statistics.get(stream, {}).items() if k in ("acc", "gyro")},
            "placement_ids": {name: i for i, name in enumerate(PLACEMENTS)},
            "embedding": int(classes.embeddings.shape[1]),
            "inputs": [
                {
                    "name": name,
                    "dtype": DTYPES[x.dtype],
                    "shape": [dims[0], count] if name == "step_s" else [*dims, *x.shape[2:]],
                }
                for name, x in example.items()
            ],
            "files": {name: {"sha256": sha256_of(out / name), "bytes": (out / name).stat().st_size} for name in files},
        },
    )
    parameters = sum(p.numel() for p in module.parameters())
    return report(out, model, stream, input, tower.any_sensors, parameters) | {"words": classes.sentences}
