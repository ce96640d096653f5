"""The page itself, by Gradio: on this machine alone, without a link to share it and without any other address.

serve("runs/quickstart", samples="data/synthetic:val")
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported

try:
    import gradio as gr
except ImportError as error:
    raise ImportError("the page needs Gradio: pip install gradio pandas (the extra demo)") from error
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aura.body.placements import PLACEMENTS
from aura.data.config import kind_of
from aura.data.index import BadSample
from aura.demo.answers import Desk, gallery, input_warnings, offset, open_desk, recognise, search, words_of
from aura.demo.figures import as_png, data_url, hit_figure, plain, sheets, timeline
from aura.demo.player import SCRIPT, STYLE, hits, messages, player, refusal
from aura.demo.readers import FILMS, MB, TABLES, Loaded, read_file
from aura.inference.model import Aura
from aura.inference.recordings import ACC, GYRO
from aura.tasks.recordings import picture
from aura.weights import RunError

SAMPLE, FILE = "a sample", "a file"
FONTS = ("system-ui", "sans-serif")
# The browser itself then asks no other address for anything, whatever Gradio's page names.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:;"
    " connect-src 'self' data: blob:"
)
KEPT_S = 3600  # seconds that an upload is kept at most
SWEPT_S = 300  # from one look for files that are too old to the next
EVENT: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}


def serve(
    model: str | Path | Aura,
    samples: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    max_mb: float = 50.0,
) -> None:
    """Serves the page of a model (what `aura.from_pretrained` takes) until it is interrupted (KeyboardInterrupt).

    samples    FOLDER:SPLIT of shards to choose samples of; max_mb: of a file that is given
    host       127.0.0.1: only this machine sees the page

    RunError, ShardError, StorageError for what cannot be loaded; OSError where the port is taken.
    """
    print("loading ...", flush=True)
    loaded = model if isinstance(model, Aura) else Aura.from_pretrained(model)
    blocks = build(open_desk(loaded, samples, max_mb))
    with tempfile.TemporaryDirectory(prefix="aura-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # uploads go with the page
        blocks.queue(default_concurrency_limit=1, max_size=20)
        try:
            blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                prevent_thread_lock=True,
                max_file_size=int(max_mb * MB),
                footer_links=[],
                app_kwargs={"middleware": [Middleware(_Guarded)]},
                theme=gr.themes.Default(font=FONTS, font_mono=("monospace",)),
                css=STYLE,
                ssr_mode=False,
                enable_monitoring=False,
                quiet=True,
            )
        except OSError as error:
            raise OSError(f"the page cannot listen at {host}:{port}: is the port taken? Give another") from error
        try:
            print(f"the page is at http://{host}:{port}  (Ctrl-C ends it)", flush=True)
            while blocks.is_running:
                time.sleep(0.1)
        finally:
            _close(blocks)


def _close(blocks: gr.Blocks) -> None:
    """Ends the server without waiting for open pages, which hold a connection each, or for what it computes."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # each connection that is cut would be a traceback
    server = blocks.server
    server.should_exit = server.force_exit = True
    server.thread.join(timeout=1)


class _Guarded:
    """Adds the policy to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, guarded)


def build(desk: Desk) -> gr.Blocks:
    """The page of a model and its samples."""
    config = desk.model.config
    with gr.Blocks(
        title=f"aura: {config.name}", delete_cache=(SWEPT_S, KEPT_S - SWEPT_S), analytics_enabled=False, fill_width=True
    ) as blocks:
        streams = ", ".join(name for name in desk.model.module.towers)
        gr.Markdown(
            f"# {config.name}\nA model of human activity. It reads {streams}; windows of {config.window.seconds:g} s."
        )
        with gr.Tab("What is it doing?"):
            _what(desk)
        with gr.Tab("Search"):
            _search(desk)
        with gr.Tab("Offset"):
            _offset(desk)
    return blocks


def _source(desk: Desk, label: str, streams: list[str]) -> list[Any]:
    """Inputs of one recording: where from, sample, stream, file, and how a table is to be read."""
    keys = list(desk.samples)
    where = gr.Radio(
        [SAMPLE, FILE] if keys else [FILE], value=SAMPLE if keys else FILE, label=label, visible=bool(keys)
    )
    with gr.Group(visible=bool(keys)) as of_samples:
        sample = gr.Dropdown(keys, value=keys[0] if keys else None, label="Sample")
        stream = gr.Dropdown(streams, value=streams[0] if streams else None, label="Read by its")
    with gr.Column(visible=not keys) as of_files:
        file = gr.File(
            file_types=[*TABLES, *FILMS],
            label=f"CSV, .mp4 or .mov; at most {desk.max_mb:g} MB",
            height=170,
        )
        gr.Markdown(
            "A CSV has the columns acceleration x y z, then angular velocity x y z if there is any. A column `time` gives the rate."
        )
        with gr.Row():
            rate = gr.Number(50, label="Else: rows a second", minimum=0.1, maximum=10_000, min_width=120)
            units = gr.Dropdown(list(ACC), value="m/s^2", label="Acceleration in", min_width=110)
        with gr.Row():
            turns = gr.Dropdown(list(GYRO), value="rad/s", label="Angular velocity in", min_width=110)
            place = gr.Dropdown(list(PLACEMENTS), value=_placement(desk), label="Sensor worn at", min_width=120)
    where.change(
        lambda chosen: (gr.update(visible=chosen == SAMPLE), gr.update(visible=chosen == FILE)),
        where,
        [of_samples, of_files],
        api_visibility="private",
    )
    return [where, sample, stream, file, rate, units, turns, place]


def _placement(desk: Desk) -> str:
    """Where a sensor is supposed to be: at the first place that the model was trained on."""
    for name in desk.streams:
        if kind_of(name) == "imu":
            return next(iter(getattr(desk.model.config.inputs[name], "placements", ())), "unknown")
    return "unknown"


def _loaded(desk: Desk, source: tuple[Any, ...]) -> tuple[Loaded, str]:
    """The recording that is chosen, and the stream that is read of it."""
    where, sample, stream, file, rate, units, turns, place = source
    if where == SAMPLE:
        return desk.load(sample), stream
    if file is None:
        raise ValueError(f"choose a file first, of at most {desk.max_mb:g} MB")
    loaded = read_file(file, desk.model, desk.max_mb, rate, units, turns, place)
    return loaded, next(iter(loaded.given))


def _on_page(warned: list[str]) -> list[str]:
    """Warnings that name an argument, with the name of its input on the page."""
    swaps = ((r"Say gyro_units=\S+", "See “Angular velocity in”"), (r"Say units=\S+", "See “Acceleration in”"))
    for pattern, words in swaps:
        warned = [re.sub(pattern, words, text) for text in warned]
    return warned


def _told(action: Callable[..., tuple[Any, ...]], outputs: int) -> Callable[..., tuple[Any, ...]]:
    """An action whose refusal is shown on the page in place of its first output, the others emptied."""

    def act(*given: Any, progress: Any = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008  # Gradio finds it as a default
        try:
            return action(*given, progress=progress)
        except (ValueError, RunError, BadSample) as error:
            text = str(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            text = f"This failed inside, which is a fault of the page: {type(error).__name__}. Its log says more."
        return refusal(text), *[None] * (outputs - 1)

    return act


def _what(desk: Desk) -> None:
    def act(words: str, *source: Any, progress: Any) -> tuple[Any, ...]:
        warned: list[str] = []
        loaded, stream = _loaded(desk, source)
        with input_warnings(warned):
            found, start, span = recognise(desk, loaded, stream, words_of(words))
        shown = player(timeline(loaded, found, start, span), sheets(loaded), found, start, span)
        (best, share), *others = sorted(found.probabilities.items(), key=lambda item: -item[1])
        then = ", ".join(f"{name} {value:.0%}" for name, value in others[:3] if value >= 0.005)
        told = ["of the recording as a whole" + (f"; then {then}" if then else ""), *loaded.notes]
        return messages(told, _on_page(warned), f"{best}: {share:.0%}"), shown

    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            source = _source(desk, "Recording", desk.with_words)
            words = gr.Textbox(", ".join(desk.words), label="Activities, in any words", lines=4, max_lines=12)
            button = gr.Button("What is it doing?", variant="primary")
        with gr.Column(scale=3, min_width=480):
            told = gr.HTML(elem_id="what-told")
            shown = gr.HTML(js_on_load=SCRIPT, elem_id="what-shown")
    button.click(_told(act, 2), [words, *source], [told, shown], **EVENT)


def _search(desk: Desk) -> None:
    def act(query: str, stream: str, *, progress: Any) -> tuple[Any, ...]:
        def tell(done: int, count: int) -> None:
            progress((done, count), desc="embedding the samples, once", unit="samples")

        windows, keys = gallery(desk, stream, tell)
        found = search(desk, windows, query)
        cards = []
        for hit in found:
            loaded = desk.load(keys[hit.recording])
            start = hit.start_s + loaded.streams[stream]["start_s"]
            cards.append((hit_figure(loaded, start, float(windows.span_s[0])), hit.score, loaded.title, start))
        words = f"{len(windows.vectors)} windows of {len(keys)} samples were compared; the score is a cosine."
        return messages([words]), hits(cards)

    if not desk.samples:
        gr.Markdown("There are no samples to search in: start the page with `--samples FOLDER:SPLIT`.")
        return
    choices = desk.with_words
    with gr.Row():
        query = gr.Textbox(label="What to look for", placeholder="a person waves with one hand", scale=4)
        stream = gr.Dropdown(choices, value=choices[0] if choices else None, label="Among windows of", scale=1)
        button = gr.Button("Search", variant="primary", scale=1)
    told, shown = gr.HTML(elem_id="search-told"), gr.HTML(elem_id="search-shown")
    for event in (button.click, query.submit):
        event(_told(act, 2), [query, stream], [told, shown], **EVENT)


def _offset(desk: Desk) -> None:
    def act(cut: float | None, *sources: Any, progress: Any) -> tuple[Any, ...]:
        warned: list[str] = []
        (a, name_a), (b, name_b) = (_loaded(desk, part) for part in (sources[:8], sources[8:]))
        with input_warnings(warned):
            found, how, decided = offset(desk, a, name_a, b, name_b, cut or 0.0)
        value = found.offset
        answer = f"{value.offset_s:+.2f} s are to be added to times of b" if decided else "Undecided"
        told = [how, *a.notes, *b.notes]
        if not decided:
            told.append(f"The best offset, {value.offset_s:+.2f} s, is {value.confidence:.3f} above the second best.")
        image = data_url(as_png(picture(found, plain(f"{a.title}, {name_a}"), plain(f"{b.title}, {name_b}"))))
        shown = f'<img alt="offsets and their scores" src="{image}" style="max-width: 100%">'
        return messages(told, _on_page(warned), answer), shown

    with gr.Row():
        with gr.Column():
            first = _source(desk, "Recording a", desk.streams)
        with gr.Column():
            second = _source(desk, "Recording b", [*desk.streams[1:], *desk.streams[:1]])
    with gr.Row():
        cut = gr.Number(0, label="Leave out the first seconds of b", minimum=0, maximum=600)
        button = gr.Button("Find the offset", variant="primary")
    told, shown = gr.HTML(elem_id="offset-told"), gr.HTML(elem_id="offset-shown")
    button.click(_told(act, 2), [cut, *first, *second], [told, shown], **EVENT)
