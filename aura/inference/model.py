"""A trained model in use: `aura.from_pretrained`, then ask it about recordings.

model = aura.from_pretrained("runs/quickstart")
found = model.classify(imu=values, rate_hz=50, units="g", placements=["left wrist"], labels=["walking", "sitting"])
print(found.label, found.probabilities)
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aura import hub
from aura.data.batch import Stream
from aura.inference.align import Placing, place
from aura.inference.config import BUNDLED, CONFIG, ModelConfig, config_of_checkpoint, place_of, read_config
from aura.inference.reading import Given, Windows, embed_given, read_given, settings_for, unit_query
from aura.inference.release import build_module, load_release, mend, write_release
from aura.inference.sizes import check_sizes
from aura.inference.words import EXTRAS, known_words, prompts_of, stored_words
from aura.model import AuraModel
from aura.model_card import model_card
from aura.tasks.recordings import Alignment, Recording, align
from aura.tasks.tracks import Encoder
from aura.tasks.zeroshot import class_embeddings, class_probabilities
from aura.towers import make_tokenizer
from aura.weights import RunError, find_checkpoint, load_weights, meant, models_in, read_state

TEXTS = 256  # of one forward


@dataclass(frozen=True)
class Classification:
    """Classes of one recording. label: the most probable one; probabilities: of each label, the mean over the windows;
    start_s (N,) and by_window (N, labels): those of each window, which tell one activity from the next."""

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
    phrases     (n, D) embeddings of `config.phrases`, None where there are none
    origin      the folder that it was loaded from
    """

    def __init__(
        self, config: ModelConfig, module: AuraModel, phrases: Tensor | None = None, origin: Path | None = None
    ) -> None:
        self.config, self.phrases, self.origin = config, phrases, origin
        self.module = module.eval().requires_grad_(False)
        self.tokenize = make_tokenizer({name: config.towers[name] for name in module.towers})

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
        Face Hub (`user/name`); `aura-mini` comes with the library.

        modalities    load (and fetch) the towers of these streams or kinds alone, such as ["imu", "text"]; None: all. Without
                      the tower of text, words are those of `config.phrases`
        revision      branch, tag or commit, of a model on the Hub; token: of a private one. Without a revision a name `here/name`
                      is not looked for on the Hub where `here` is a folder of models, or `runs`

        RunError, naming the file, for a folder that holds no model, or one that is damaged or of another version. ValueError
        for a modality that the model lacks.
        """
        if isinstance(modalities, str) or (modalities is not None and not modalities):
            raise ValueError(f"modalities is {modalities!r}: give a list of streams, or None for all")
        folder = place_of(path)
        if not folder.exists() and folder.parent.is_dir():
            mend(folder)
        if not folder.exists():
            folder = _fetched(str(path), revision, modalities, token)
        if (folder / CONFIG).is_file():
            config = read_config(folder)
            streams = config.streams_of(modalities)
            check_sizes(folder, config, streams)
            module = build_module(config, streams)
            phrases = load_release(folder, config, module)
            return cls(config, module.to(torch.device(device)), phrases, folder)
        found = find_checkpoint(folder)
        state = read_state(found)
        if state is None:
            raise RunError(f"{found} is not a whole checkpoint: files that its state.json names are missing")
        config = config_of_checkpoint(found, state["step"], state["metrics"])
        module = build_module(config, config.streams_of(modalities))
        load_weights(found, module)
        return cls(config, module.to(torch.device(device)), None, found)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        copy_frozen: bool = False,
        half: bool = False,
        phrases: Sequence[str] | None = None,
        results: Sequence[Mapping[str, Any]] = (),
        licence: str | None = None,
    ) -> Path:
        """Writes the model as a folder that `from_pretrained` and the Hub take: see `aura.inference.release`.

        copy_frozen    frozen weights from elsewhere are copied too; else they are named, and must be had to load the model
        half           weights in float16: half the size; loaded, they are float32 again, of 3 digits
        phrases        whose embeddings are stored, so that a device without the tower of text knows these words; None: the
                       classes that the model was evaluated on, their wordings, and the labels of its training
        results        contents of results.json, of recipes/evaluate.py, for the model card; licence: of the weights (SPDX)

        RunError where there is no room, or where some towers are not loaded.
        """
        missing = [name for name in self.config.towers if name not in self.module.towers]
        if missing:
            how = f", after pip install {EXTRAS.get(self.config.lacks, self.config.lacks)}" if self.config.lacks else ""
            raise RunError(f"the towers of {', '.join(missing)} are not loaded: load the whole model to save it{how}")
        config, vectors = self.config, self.phrases
        if self.tokenize is not None and "text" in self.module.compared:
            words = known_words(config) if phrases is None else tuple(dict.fromkeys(phrases))
            config = config.model_copy(update={"phrases": words})
            vectors = self.embed_text(list(words)) if words else None
        folder = Path(folder).expanduser()
        card = partial(model_card, results=list(results), licence=licence)
        write_release(folder, config, self.module, vectors, card, copy_frozen, half, self.origin)
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        folder: str | Path,
        *,
        copy_frozen: bool = False,
        phrases: Sequence[str] | None = None,
        results: Sequence[Mapping[str, Any]] = (),
        licence: str | None = None,
        **settings: Any,
    ) -> hub.Pushed:
        """`save_pretrained` to a folder, and one commit of it on the Hub; settings: of `aura.hub.push_folder` (private, message,
        revision, token, dry_run)."""
        self.save_pretrained(folder, copy_frozen=copy_frozen, phrases=phrases, results=results, licence=licence)
        return hub.push_folder(folder, repo_id, **settings)

    def embed(
        self,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        by_window: bool = False,
        **recording: Any,
    ) -> Any:
        """Embeddings of recordings of one stream, given by its name: `imu=`, `mocap=`, `pose2d=`, `video=`,
        `series_...=` or `text=`.

        A single recording (an array), or a list of them, with what `aura.inference.recordings` needs to read it:
            imu        (T, 3 or 6) or (S, T, 3 or 6); rate_hz, units (m/s^2, g, mg), gyro_units (rad/s, deg/s), placements,
                       orientation
            mocap      (T, J, 3); rate_hz, skeleton (default: the model's), units (m, cm, mm), up (z, y)
            pose2d     (T, J, 2 or 3); rate_hz, skeleton (default: the model's), image_size (width, height)
            series     (T, C) or (T,), NaN where missing; rate_hz, channels (default: the model's)
            video      a path, bytes, or frames (T, H, W, 3) uint8 with rate_hz
            text       a string or a list of them
        Of several recordings each of these is one value that holds for all, or a list with one for each: see
        `aura.inference.spread.spread`. What is longer than the model's window is cut into windows, the last of which ends with
        the recording.

        window_s, stride_s    seconds of a window and from one to the next; None: as the model was evaluated in training
        by_window             gives `Windows`; else a tensor (D,), of a list (B, D): the normalised mean over the windows

        Fewer sensors than a model was ever trained with are read, with one `InputWarning` a call; a model that was trained with
        sensors dropped at random (`augment.drop_sensor`, as aura-mini) is meant for that, and says nothing.

        ValueError for input that cannot be read; `aura.InputWarning` for what looks unlike the model's training.
        """
        if "text" in recording:
            text = recording.pop("text")
            if recording or by_window:
                raise ValueError(f"text takes nothing else, not {', '.join(recording) or 'by_window'}")
            found = self.embed_text(
                [text] if isinstance(text, str) else text if not isinstance(text, tuple) else list(text)
            )
            return found[0] if isinstance(text, str) else found
        given = self._read(recording)
        windows = embed_given(self.config, self.module, given, window_s, stride_s)
        if by_window:
            return windows
        return windows.means[0] if given.single else windows.means

    def classify(
        self,
        labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        **recording: Any,
    ) -> Any:
        """The label whose words are the nearest: of a recording a `Classification`, of a list of them a list. Recordings,
        window_s and stride_s are given as for `embed`.

        labels    words, or label -> several wordings, whose mean is compared; None: the classes the model was evaluated on.
                  Labels share out the probability: synonyms are wordings of one, {"walking": ["walking", "strolling"]}

        ValueError and `InputWarning` as `embed`; ValueError for under two labels, and for a stream that was not trained with text.
        """
        prompts, given = prompts_of(self.config, labels), self._read(recording)
        scale, words = self.scale(given.stream), class_embeddings(prompts, self.embed_text)
        windows = embed_given(self.config, self.module, given, window_s, stride_s)
        each, names, out = class_probabilities(windows.vectors, words, scale), list(prompts.classes), []
        for i in range(len(windows.means)):
            mine = windows.recording == i
            # Not of the mean embedding: that of two activities may lie near the words of a third.
            whole = each[mine].mean(0)
            probabilities = dict(zip(names, whole.tolist()))
            out.append(Classification(names[int(whole.argmax())], probabilities, windows.start_s[mine], each[mine]))
        return out[0] if given.single else out

    def search(self, query: Any, windows: Windows, k: int = 5) -> list[Hit]:
        """The k windows (`embed(..., by_window=True)`; all of them where there are fewer) nearest to words or to an embedding
        (D,), best first. For galleries of millions `aura.tasks.search` has an index.

        ValueError for a k under 1, and for a query that is not one embedding of the windows' width with finite numbers."""
        if not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"k is {k!r}: say how many windows are to be found, a whole number from 1 on")
        vector = unit_query(self.embed_text([query])[0] if isinstance(query, str) else query, windows)
        best = (windows.vectors @ vector).topk(min(int(k), len(windows.vectors)))
        return [
            Hit(score, int(windows.recording[i]), float(windows.start_s[i]))
            for score, i in zip(best.values.tolist(), best.indices.tolist())
        ]

    def synchronise(
        self, a: Mapping[str, Any], b: Mapping[str, Any], *, max_offset_s: float = float("inf")
    ) -> Alignment:
        """How far two recordings of the same movement are apart: `.offset.offset_s` is to be added to times of b to get times
        of a; `.offset.decided` says whether one peak stands out. a, b: what `embed` takes, `dict(imu=..., rate_hz=50)`.

        ValueError as `embed`, and for recordings that are too short or have no body part in common.
        """
        x, y = self._one("a", a), self._one("b", b)
        encoder = self._encoder([x, y])
        if not encoder.by_tokens(x.name, y.name):
            # Whole windows are compared.
            if blind := [side.name for side in (x, y) if side.name not in self.module.compared]:
                raise ValueError(
                    f"{blind[0]} has no embedding of windows, and was not trained to be aligned: see fine pairs"
                )
            if self.config.window.whole:
                raise ValueError(
                    f"{self.config.name} reads recordings as a whole: it cannot tell when something happened"
                )
        return align(encoder, x, y, max_offset_s=max_offset_s)

    def localise(self, sensors: Mapping[str, Any], bodies: Mapping[str, Any]) -> Placing:
        """On which part of which body each sensor is worn: sensors and bodies of the same seconds, as `embed` takes them;
        several bodies (people in one scene) are a list. See `Placing`.

        ValueError as `embed`, and where the model was not trained to align the two streams by parts.
        """
        worn, found = self._one("sensors", sensors, ask_places=False), self._read(bodies)
        people = [Recording(found.stream, found.stream, (record,), (0.0,)) for record in found.records]
        return place(self._encoder([worn, *people], every=True), worn, people, self.config.objective)

    def embed_text(self, texts: list[str]) -> Tensor:
        """(n, D) unit vectors of texts; without the tower of text of those that `config.phrases` has. ValueError for another,
        naming the nearest."""
        if (
            not isinstance(texts, list)
            or not texts
            or not all(isinstance(text, str) and text.strip() for text in texts)
        ):
            raise ValueError(f"texts are strings that say something, not {texts!r}")
        if self.tokenize is None:
            return stored_words(self.config, self.phrases, texts)
        return torch.cat([self._encoded(texts[i : i + TEXTS]) for i in range(0, len(texts), TEXTS)])

    def _encoded(self, texts: list[str]) -> Tensor:
        assert self.tokenize is not None
        ids = self.tokenize(texts)
        present = torch.ones(len(ids), dtype=torch.bool)
        stream = Stream(values=ids, present=present, valid=present[:, None].expand(ids.shape).clone())
        device = next(self.module.parameters()).device
        with torch.no_grad():
            return self.module.embed_stream("text", stream.map(lambda tensor: tensor.to(device))).cpu()

    def scale(self, stream: str) -> float:
        """What cosines of a stream with text were multiplied by in training. ValueError where it was never compared."""
        pairs = self.config.objective.pairs
        values = dict(zip(self.config.objective.scales, self.module.temperature()[0].exp().tolist()))
        found = values.get(f"{stream}:text", values.get(f"text:{stream}"))
        if found is None:
            known = sorted({side for pair in pairs for side in pair.split(":") if "text" in pair.split(":")} - {"text"})
            raise ValueError(f"{stream} was not trained with text; {', '.join(known) or 'nothing'} was")
        return found

    def _read(self, given: Mapping[str, Any]) -> Given:
        return read_given(self.config, self.module, given, depth=2)

    def _one(self, name: str, given: Mapping[str, Any], *, ask_places: bool = True) -> Recording:
        found = read_given(self.config, self.module, given, depth=2, ask_places=ask_places)
        if not found.single:
            raise ValueError(f"{name} is a list of {len(found.records)} recordings: give one")
        return Recording(found.stream, found.stream, (found.records[0],), (0.0,))

    def _encoder(self, given: Sequence[Recording], *, every: bool = False) -> Encoder:
        inputs = {}
        for name in {recording.name for recording in given}:
            records: Any = [record for recording in given if recording.name == name for record in recording.records]
            inputs[name] = settings_for(self.config, self.module, name, records, every=every)
        return Encoder(self.module, inputs, self.config.window.seconds)


def _fetched(name: str, revision: str | None, modalities: Sequence[str] | None, token: str | None) -> Path:
    """The folder of a model of the Hub, in the cache. RunError, at once where the name is that of a folder which is missing."""
    folder = Path(name).expanduser()
    near = difflib.get_close_matches(name, BUNDLED, n=1)
    said = f"{name} does not exist" + (f" (did you mean {near[0]}?)" if near else meant(folder))
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise RunError(f"{said}; a model of the Hugging Face Hub is named user/name")
    # The Hub is asked for half a minute where there is no network. `runs/` is where runs are written by default.
    if revision is None and (name.startswith("runs/") or models_in(folder.parent)):
        raise RunError(f"{said}; a model of the Hugging Face Hub with this name needs revision='main'")
    try:
        return hub.download(name, revision=revision, modalities=modalities, token=token)
    except hub.HubError as error:
        raise RunError(f"there is no folder {name} here, and on the Hub: {error}") from error
