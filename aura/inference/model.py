"""A trained model in use: `aura.from_pretrained`, then ask it about recordings.

    model = aura.from_pretrained("runs/quickstart")
    found = model.classify(imu=values, rate_hz=50, units="g", placements=["left wrist"], labels=["walking", "sitting"])
    print(found.label, found.probabilities)
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aura import hub
from aura.data.batch import Stream
from aura.data.config import ImuInput, kind_of
from aura.data.index import BadSample
from aura.data.memory import MemoryRecord
from aura.data.windows import Cutter
from aura.inference import release
from aura.inference.align import Placing, place
from aura.inference.checks import InputWarning, doubts, reads_placements
from aura.inference.config import CONFIG, ModelConfig, config_of_checkpoint, read_config
from aura.inference.pieces import Piece, pieces, window_of
from aura.inference.recordings import imu_record, mocap_record, pose2d_record, video_record
from aura.model import AuraModel
from aura.model_card import model_card
from aura.tasks.recordings import Alignment, Recording, align
from aura.tasks.tracks import Encoder
from aura.tasks.zeroshot import Prompts, class_embeddings, class_probabilities
from aura.towers import make_tokenizer
from aura.weights import RunError, find_checkpoint, load_weights, read_state, read_tensors

ROWS = 64  # windows of one forward
MAKERS = {"imu": imu_record, "mocap": mocap_record, "pose2d": pose2d_record, "video": video_record}


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
class Classification:
    """Classes of one recording. label: the most probable one; probabilities: of each label, of the recording as a whole;
    start_s (N,) and by_window (N, labels): the same for each of its windows."""

    label: str
    probabilities: dict[str, float]
    start_s: Tensor
    by_window: Tensor


@dataclass(frozen=True)
class Hit:
    """A window that was found: its score (cosine), and which recording it is of, from which second on."""

    score: float
    recording: int
    start_s: float


class Aura:
    """Towers of a trained model, in evaluation, and how recordings are read for them.

    config      see `aura.inference.config.ModelConfig`
    module      the `AuraModel`; its parameters need no gradient
    phrases     (n, D) embeddings of `config.phrases`, None where the folder has none
    """

    def __init__(self, config: ModelConfig, module: AuraModel, phrases: Tensor | None = None) -> None:
        self.config, self.phrases = config, phrases
        self.module = module.eval().requires_grad_(False)
        towers = {name: tower for name, tower in config.towers.items() if name in module.towers}
        self.tokenize = make_tokenizer(towers)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        modalities: Sequence[str] | None = None,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        token: str | None = None,
    ) -> Aura:
        """A model by the folder that `save_pretrained` wrote, by a run or one of its checkpoints, or by its name on the Hugging
        Face Hub (`user/name`).

        modalities    load (and fetch) the towers of these streams or kinds alone, such as ["imu", "text"]; None: all. Without
                      the tower of text, words are those of `config.phrases`
        revision      branch, tag or commit, of a model on the Hub; token: of a private one

        RunError, naming the file, for a folder that holds no model, or one that is damaged or of another version.
        """
        folder = Path(path)
        if not folder.exists():
            if str(path).count("/") != 1 or str(path).startswith((".", "/", "~")):
                raise RunError(f"{path} does not exist; a model of the Hugging Face Hub is named user/name")
            try:
                folder = hub.download(str(path), revision=revision, modalities=modalities, token=token)
            except hub.HubError as error:
                raise RunError(f"there is no folder {path} here, and on the Hub: {error}") from error
        if (folder / CONFIG).is_file():
            config = read_config(folder)
            config = _with_tokenizer(config, folder)
            module = release.build_module(config, config.streams_of(_list(modalities)))
            release.load_release(folder, config, module)
            file = folder / release.PHRASES
            phrases = read_tensors(file)["embeddings"] if config.phrases and file.is_file() else None
            if phrases is not None and phrases.shape != (len(config.phrases), config.embedding):
                raise RunError(f"{file} has shape {tuple(phrases.shape)}, {CONFIG} names {len(config.phrases)} phrases")
            return cls(config, module.to(torch.device(device)), phrases)
        found = find_checkpoint(folder)
        state = read_state(found)
        if state is None:
            raise RunError(f"{found} is not a whole checkpoint: files that its state.json names are missing")
        config = config_of_checkpoint(found, state["step"])
        module = release.build_module(config, config.streams_of(_list(modalities)))
        load_weights(found, module)
        return cls(config, module.to(torch.device(device)))

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        copy_frozen: bool = False,
        phrases: Sequence[str] | None = None,
        results: Sequence[Mapping[str, Any]] = (),
        licence: str | None = None,
    ) -> Path:
        """Writes the model as a folder that `from_pretrained` and the Hub take: see `aura.inference.release`.

        copy_frozen    frozen weights from elsewhere are copied too; else they are named, and must be had to load the model
        phrases        whose embeddings are stored, so that a device without the tower of text knows these words; None: the
                       classes of the model's prompts, their wordings, and the labels of its training
        results        results.json of recipes/evaluate.py, for the model card; licence: of the weights, an SPDX name

        RunError where there is no room, or where some towers are not loaded.
        """
        missing = [name for name in self.config.towers if name not in self.module.towers]
        if missing:
            raise RunError(f"the towers of {', '.join(missing)} are not loaded: load the whole model to save it")
        config, vectors = self.config, self.phrases
        if self.tokenize is not None and "text" in self.module.compared:
            words = tuple(dict.fromkeys(self._known_words() if phrases is None else phrases))
            config = config.model_copy(update={"phrases": words})
            vectors = self.embed_text(list(words)) if words else None
        card = model_card(config.model_dump(mode="json"), list(results), licence)
        release.write_release(Path(folder), config, self.module, vectors, card, copy_frozen)
        return Path(folder)

    def push_to_hub(self, repo_id: str, folder: str | Path, **settings: Any) -> str:
        """`save_pretrained` to a folder, then `aura.hub.push_folder` of it: one commit. Gives the commit's address."""
        names = ("copy_frozen", "phrases", "results", "licence")
        saved = self.save_pretrained(folder, **{k: settings.pop(k) for k in names if k in settings})
        return hub.push_folder(saved, repo_id, **settings)

    def embed(
        self,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        by_window: bool = False,
        **recording: Any,
    ) -> Any:
        """Embeddings of recordings of one stream, given by its name: `imu=`, `mocap=`, `pose2d=`, `video=`, or `text=`.

        A single recording (an array), or a list of them, with what `aura.inference.recordings` needs to read it:
            imu        rate_hz, units (m/s^2, g, mg), gyro_units (rad/s, deg/s), placements, orientation
            mocap      rate_hz, skeleton (default: the model's), units (m, cm, mm), up (z, y)
            pose2d     rate_hz, skeleton (default: the model's), image_size (width, height)
            video      a path, bytes, or frames (T, H, W, 3) uint8 with rate_hz
            text       a string or a list of them
        What is longer than the model's window is cut into windows, the last of which ends with the recording.

        window_s, stride_s    seconds of a window and from one to the next; None: as the model was trained
        by_window             gives `Windows`; else a tensor (D,), of a list (B, D): the mean over the windows

        ValueError for input that cannot be read; `InputWarning` for what looks unlike the model's training.
        """
        if "text" in recording:
            text = recording.pop("text")
            if recording or by_window:
                raise ValueError(f"text takes nothing else, not {', '.join(recording) or 'by_window'}")
            found = self.embed_text([text] if isinstance(text, str) else list(text))
            return found[0] if isinstance(text, str) else found
        stream, records, single = self.records(**recording)
        windows = self._windows(stream, records, window_s, stride_s)
        if by_window:
            return windows
        return windows.means[0] if single else windows.means

    def classify(
        self,
        labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        **recording: Any,
    ) -> Any:
        """The label whose words are the nearest, of a recording (`Classification`) or a list of them (a list), given as for
        `embed`.

        labels    words, or label -> several wordings, whose mean is compared; None: the classes the model was evaluated on

        ValueError as `embed`, for under two labels, and for a stream that was not trained with text.
        """
        prompts = self.prompts(labels)
        stream, records, single = self.records(**recording)
        scale = self.scale(stream)
        words = class_embeddings(prompts, self.embed_text)
        windows = self._windows(stream, records, window_s, stride_s)
        whole, each = (class_probabilities(v, words, scale) for v in (windows.means, windows.vectors))
        names, out = list(prompts.classes), []
        for i, row in enumerate(whole):
            mine = windows.recording == i
            probabilities = dict(zip(names, row.tolist()))
            out.append(Classification(names[int(row.argmax())], probabilities, windows.start_s[mine], each[mine]))
        return out[0] if single else out

    def search(self, query: str | Tensor, windows: Windows, k: int = 5) -> list[Hit]:
        """The k windows (`embed(..., by_window=True)`) nearest to words or to an embedding (D,), best first. For galleries of
        millions `aura.tasks.search` has an index."""
        vector = self.embed_text([query])[0] if isinstance(query, str) else F.normalize(query.float(), dim=-1)
        score = windows.vectors @ vector.to(windows.vectors)
        best = score.topk(min(k, len(score)))
        places = best.indices.tolist()
        return [
            Hit(value, int(windows.recording[i]), float(windows.start_s[i]))
            for value, i in zip(best.values.tolist(), places)
        ]

    def synchronise(self, a: Mapping[str, Any], b: Mapping[str, Any], *, max_offset_s: float = float("inf")) -> Alignment:
        """How far two recordings of the same movement are apart: `.offset.offset_s` is to be added to times of b to get times
        of a; `.offset.decided` says whether one peak stands out. a, b: what `embed` takes, `dict(imu=..., rate_hz=50)`.

        ValueError as `embed`, and for recordings that are too short or have no body part in common.
        """
        sides = []
        for name, given in (("a", a), ("b", b)):
            stream, records, single = self.records(**given)
            if not single:
                raise ValueError(f"{name} is several recordings: give one")
            sides.append(Recording(stream, stream, (records[0],), (0.0,)))
        encoder = Encoder(self.module, self._inputs(sides), self.config.window.seconds)
        return align(encoder, sides[0], sides[1], max_offset_s=max_offset_s)

    def localise(self, sensors: Mapping[str, Any], bodies: Mapping[str, Any]) -> Placing:
        """On which part of which body each sensor is worn: sensors, bodies of the same seconds, as `embed` takes them; several
        bodies (people in one scene) are a list. See `Placing`.

        ValueError as `embed`, and where the model was not trained to align the two streams by parts.
        """
        stream, records, single = self.records(**sensors)
        if not single:
            raise ValueError("sensors is several recordings: give one")
        other, found, _ = self.records(**bodies)
        given = [Recording(stream, stream, (records[0],), (0.0,)), *(Recording(other, other, (r,), (0.0,)) for r in found)]
        encoder = Encoder(self.module, self._inputs(given), self.config.window.seconds)
        return place(encoder, given[0], given[1:], self.config.objective)

    def embed_text(self, texts: list[str]) -> Tensor:
        """(n, D) unit vectors of texts; without the tower of text of those that `config.phrases` has. ValueError for another,
        naming the nearest."""
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(f"texts are strings that say something, not {texts!r}")
        if self.tokenize is None:
            return self._stored(texts)
        device = next(self.module.parameters()).device
        ids = self.tokenize(texts)
        present = torch.ones(len(ids), dtype=torch.bool)
        stream = Stream(values=ids, present=present, valid=present[:, None].expand(ids.shape).clone())
        with torch.no_grad():
            return self.module.embed_stream("text", stream.map(lambda t: t.to(device))).cpu()

    def _stored(self, texts: list[str]) -> Tensor:
        if self.phrases is None:
            raise ValueError("the tower of text is not loaded, and the model has no stored phrases: load it with text")
        known = {phrase.strip().lower(): i for i, phrase in enumerate(self.config.phrases)}
        rows = []
        for text in texts:
            row = known.get(text.strip().lower())
            if row is None:
                near = difflib.get_close_matches(text.strip().lower(), known, n=3, cutoff=0.0)
                raise ValueError(
                    f"{text!r} is not among the {len(known)} stored phrases, and the tower of text is not loaded: the nearest"
                    f" are {', '.join(map(repr, near))}; with the tower any words will do"
                )
            rows.append(row)
        return self.phrases[rows]

    def prompts(self, labels: Sequence[str] | Mapping[str, Sequence[str]] | None) -> Prompts:
        """Labels as classes in words. ValueError for under two, or where none are given and the model has none."""
        if labels is None:
            if self.config.prompts is None:
                raise ValueError("the model brings no classes of its own: give labels=[...]")
            return self.config.prompts
        if isinstance(labels, str):
            raise ValueError(f"labels is the one string {labels!r}: give a list")
        given = labels if isinstance(labels, Mapping) else {label: [label.replace("_", " ")] for label in labels}
        if len(given) < 2:
            raise ValueError(f"labels are {list(given)}: give two or more that differ")
        classes = {label: [words] if isinstance(words, str) else list(words) for label, words in given.items()}
        return Prompts(classes=classes)

    def scale(self, stream: str) -> float:
        """What cosines of a stream with text were multiplied by in training. ValueError where it was never compared."""
        values = dict(zip(self.config.objective.scales, self.module.temperature()[0].exp().tolist()))
        found = values.get(f"{stream}:text", values.get(f"text:{stream}"))
        if found is None:
            sides = [name for pair in self.config.objective.pairs for name in pair.split(":") if "text" in pair.split(":")]
            known = sorted(set(sides) - {"text"})
            raise ValueError(f"{stream} was not trained with text; {', '.join(known) or 'nothing'} was")
        return found

    def records(self, **recording: Any) -> tuple[str, list[MemoryRecord], bool]:
        """The stream that is given, its recordings, and whether it is a single one. ValueError; `InputWarning`."""
        given = [name for name in recording if kind_of(name) in MAKERS]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(n for n in self.module.towers if n != 'text')}; given: {given}")
        stream = given[0]
        if stream not in self.module.towers:
            raise ValueError(f"{self.config.name} reads no {stream}; it reads {', '.join(self.module.towers)}")
        values, settings = recording.pop(stream), self.config.inputs[stream]
        skeleton = getattr(settings, "skeleton", None)
        if skeleton is not None:
            recording.setdefault("skeleton", skeleton)
        many = _several(values, stream)
        made = []
        for i, one in enumerate(values if many else [values]):
            try:
                record = MAKERS[kind_of(stream)](one, **recording, stream=stream)
            except TypeError as error:
                raise ValueError(f"{stream}: {str(error).partition('() ')[2] or error}") from error
            except ValueError as error:
                raise ValueError(f"recording {i}: {error}" if many else str(error)) from error
            for doubt in doubts(record, stream, settings, self.config.statistics):
                warnings.warn(f"recording {i}: {doubt}" if many else doubt, InputWarning, stacklevel=3)
            made.append(record)
        return stream, made, not many

    def _windows(
        self, stream: str, records: Sequence[MemoryRecord], window_s: float | None, stride_s: float | None
    ) -> Windows:
        if stream not in self.module.compared:
            raise ValueError(f"{stream} has no embedding of its own in {self.config.name}: it was aligned by moments alone")
        window, whole_s = window_of(self.config, self.module, stream, window_s, stride_s)
        found = [piece for i, record in enumerate(records) for piece in pieces(i, record, stream, window, whole_s)]
        settings = self._settings(stream, records)
        cutter = Cutter({stream: settings}, window)
        device, vectors = next(self.module.parameters()).device, []
        with torch.no_grad():
            for i in range(0, len(found), ROWS):
                vectors.append(self._embedded(cutter, stream, found[i : i + ROWS], records, device))
        return Windows(
            stream=stream,
            vectors=torch.cat(vectors),
            recording=torch.tensor([piece.recording for piece in found]),
            start_s=torch.tensor([piece.cut.start_s for piece in found], dtype=torch.float64),
            span_s=torch.tensor([piece.cut.span_s for piece in found], dtype=torch.float64),
        )

    def _embedded(
        self, cutter: Cutter, stream: str, part: list[Piece], records: Sequence[MemoryRecord], device: torch.device
    ) -> Tensor:
        made = [lambda out, p=piece: cutter.cut_row(records[p.recording], p.cut, out) for piece in part]
        try:
            read = cutter.fill(len(part), made).streams[stream]
        except BadSample as error:
            raise ValueError(str(error)) from error
        for piece, there in zip(part, read.present.tolist()):
            if not there:
                share, seconds = cutter.window.min_cover, cutter.window.seconds
                raise ValueError(
                    f"recording {piece.recording} lasts {records[piece.recording].entry['duration_s']:.3g} s: the model reads"
                    f" windows of {seconds:g} s, and needs {share:.0%} of one"
                )
        return self.module.embed_stream(stream, read.map(lambda t: t.to(device))).cpu()

    def _settings(self, stream: str, records: Sequence[MemoryRecord]) -> Any:
        """How a stream is read: as in training; sensors at other places than the recipe names are read all the same, where the
        tower takes any number."""
        settings = self.config.inputs[stream]
        if not isinstance(settings, ImuInput):
            return settings
        most = max(record.shape(stream)[0] for record in records)
        if all(reads_placements(settings, record, stream) for record in records):
            return settings
        if most > settings.sensors and not getattr(self.module.towers[stream], "any_sensors", False):
            raise ValueError(f"{stream}: {most} sensors are given, the model reads {settings.sensors}: choose some")
        changed = {"placements": (), "sensors": max(most, settings.sensors)}
        return ImuInput.model_validate(settings.model_dump() | changed)

    def _inputs(self, given: Sequence[Recording]) -> dict[str, Any]:
        streams = {recording.name for recording in given}
        return {
            name: self._settings(name, [r for g in given if g.name == name for r in g.records])  # pyright: ignore
            for name in streams
        }

    def _known_words(self) -> list[str]:
        words: list[str] = []
        if self.config.prompts is not None:
            for name in self.config.prompts.classes:
                words += [name.replace("_", " "), *self.config.prompts.sentences(name)]
        for about in self.config.training.get("datasets", []):
            for values in about.get("labels", {}).values():
                words += [value.replace("_", " ") for value in values]
        return [word for word in words if word.strip()]


def _several(values: Any, stream: str) -> bool:
    """Whether a list of recordings is given, or one."""
    if kind_of(stream) == "video":
        return isinstance(values, list | tuple)
    most = 3
    depth = len(getattr(values, "shape", ())) or _depth(values)
    return depth > most or (isinstance(values, list | tuple) and any(hasattr(v, "shape") or hasattr(v, "columns") for v in values))


def _depth(values: Any) -> int:
    return 1 + _depth(values[0]) if isinstance(values, list | tuple) and len(values) else 0


def _list(modalities: Sequence[str] | None) -> list[str] | None:
    if isinstance(modalities, str):
        raise ValueError(f"modalities is the one string {modalities!r}: give a list")
    return None if modalities is None else list(modalities)


def _with_tokenizer(config: ModelConfig, folder: Path) -> ModelConfig:
    """The tokenizer that the folder brings, by its place here."""
    towers = {
        name: tower.model_copy(update={"tokenizer": str(folder / release.TOKENIZER)})
        if getattr(tower, "tokenizer", None) == release.TOKENIZER
        else tower
        for name, tower in config.towers.items()
    }
    return config.model_copy(update={"towers": towers})
