"""Pieces of HTML that the page shows: a recording with a marker that moves through all of it, found windows, messages."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from itertools import pairwise

from aura.demo.figures import Sheet, Timeline, data_url
from aura.inference.model import Classification

NAMES = {"video": "video", "mocap": "body", "pose2d": "2D pose"}
TOLD = 3  # activities that are named at a moment

STYLE = """
.aura-refused, .aura-warned {border-left: 5px solid #c62828; background: #c628281a; padding: .5rem .9rem; margin: .3rem 0}
.aura-warned {border-color: #ef8f00; background: #ef8f001a}
.aura-told {padding: .2rem 0}
.aura-answer {font-size: 1.25rem; font-weight: 600}
.aura-stage {display: flex; gap: 1rem; flex-wrap: wrap; align-items: end}
.aura-stage figure, .aura-hits figure {margin: 0}
.aura-stage figcaption {font-size: .85rem; opacity: .8}
.aura-sheet {height: 220px; background-color: #fff; background-repeat: no-repeat; border: 1px solid #8886}
.aura-controls {display: flex; gap: .8rem; align-items: center; margin: .6rem 0}
.aura-controls button {border: 1px solid #8888; border-radius: 6px; padding: .3rem 1rem; min-width: 5.5rem; cursor: pointer}
.aura-controls input {flex: 1}
.aura-now {font-variant-numeric: tabular-nums; min-height: 1.6em}
.aura-player {overflow-x: auto}
.aura-time-axis {min-width: 640px; position: relative; background: #fff; cursor: pointer}
.aura-time-axis img {display: block; width: 100%}
.aura-marker {position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #d62728; pointer-events: none}
.aura-hits {display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 1rem}
.aura-hits figure {border: 1px solid #8886; border-radius: 6px; overflow: hidden}
.aura-hits img {width: 100%; background: #fff; display: block}
.aura-hits figcaption {padding: .4rem .7rem; overflow-wrap: anywhere}
"""

# Events of all players are heard at their component, whose content is replaced with every answer.
SCRIPT = """
const show = (player, time) => {
  const about = JSON.parse(player.dataset.about);
  time = Math.min(about.last, Math.max(about.first, time));
  player.querySelector('.aura-slider').value = time;
  const share = (time - about.first) / (about.last - about.first);
  player.querySelector('.aura-marker').style.left = 100 * (about.left + share * (about.right - about.left)) + '%';
  for (const sheet of player.querySelectorAll('.aura-sheet')) {
    const s = JSON.parse(sheet.dataset.sheet);
    const i = Math.min(s.count - 1, Math.max(0, Math.round((time - s.start) / s.step)));
    const part = (at, of) => of > 1 ? 100 * at / (of - 1) : 0;
    sheet.style.backgroundPosition = part(i % s.columns, s.columns) + '% ' + part(Math.floor(i / s.columns), s.rows) + '%';
  }
  const after = about.ends.findIndex(end => time < end);
  const said = about.said[after < 0 ? about.said.length - 1 : after];
  player.querySelector('.aura-now').textContent = time.toFixed(2) + ' s: ' + said;
};
const stop = (player) => { player.dataset.playing = ''; player.querySelector('.aura-play').textContent = 'Play'; };
element.addEventListener('input', (event) => {
  if (!event.target.matches('.aura-slider')) return;
  const player = event.target.closest('.aura-player');
  stop(player);
  show(player, Number(event.target.value));
});
element.addEventListener('click', (event) => {
  const player = event.target.closest('.aura-player');
  if (!player) return;
  const about = JSON.parse(player.dataset.about), axis = event.target.closest('.aura-time-axis');
  if (axis) {
    const box = axis.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
    show(player, about.first + (share - about.left) / (about.right - about.left) * (about.last - about.first));
  }
  if (!event.target.matches('.aura-play')) return;
  if (player.dataset.playing) return stop(player);
  player.dataset.playing = 'yes';
  event.target.textContent = 'Pause';
  const slider = player.querySelector('.aura-slider');
  let time = Number(slider.value), before = performance.now();
  if (time >= about.last - 0.05) time = about.first;
  const step = (now) => {
    if (!player.dataset.playing || !player.isConnected) return;
    time += (now - before) / 1000;
    before = now;
    show(player, time);
    if (time >= about.last) return stop(player);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
});
"""


def player(line: Timeline, sheets: Sequence[Sheet], found: Classification, start_s: float, span_s: float) -> str:
    """A recording with play button and slider. start_s: of the stream that was classified; span_s: of a window."""
    centres = (found.start_s + start_s + span_s / 2).tolist()
    about = {
        "first": line.first_s,
        "last": line.last_s,
        "left": line.left,
        "right": line.right,
        "ends": [(a + b) / 2 for a, b in pairwise(centres)],
        "said": [_said(row, list(found.probabilities)) for row in found.by_window.tolist()],
    }
    stage = "".join(_stage(sheet) for sheet in sheets)
    begin = 100 * line.left
    return (
        f'<div class="aura-player" data-about="{_json(about)}">'
        f'<div class="aura-stage">{stage}</div>'
        '<div class="aura-controls"><button type="button" class="aura-play">Play</button>'
        f'<input type="range" class="aura-slider" aria-label="second" min="{line.first_s:.6f}" max="{line.last_s:.6f}"'
        f' step="any" value="{line.first_s:.6f}"></div>'
        f'<div class="aura-now">{line.first_s:.2f} s: {html.escape(about["said"][0])}</div>'
        f'<div class="aura-time-axis"><img alt="activities and signals over time" src="{data_url(line.image)}">'
        f'<div class="aura-marker" style="left: {begin:.3f}%; bottom: {100 * line.foot:.3f}%"></div></div></div>'
    )


def _said(row: list[float], names: list[str]) -> str:
    best = sorted(zip(row, names), reverse=True)[:TOLD]
    return ", ".join(f"{name.replace('_', ' ')} {share:.2f}" for share, name in best)


def _stage(sheet: Sheet) -> str:
    about = {
        "start": sheet.start_s,
        "step": sheet.step_s,
        "count": sheet.count,
        "columns": sheet.columns,
        "rows": sheet.rows,
    }
    style = (
        f"aspect-ratio: {sheet.ratio:.4f}; background-image: url({data_url(sheet.image)});"
        f" background-size: {100 * sheet.columns}% {100 * sheet.rows}%; background-position: 0% 0%"
    )
    title = html.escape(f"{NAMES[sheet.kind]} ({sheet.name})" if sheet.name != sheet.kind else NAMES[sheet.kind])
    return (
        f'<figure><div class="aura-sheet" role="img" aria-label="{title}" data-sheet="{_json(about)}" style="{style}"></div>'
        f"<figcaption>{title}</figcaption></figure>"
    )


def hits(found: Sequence[tuple[bytes, float, str, float]]) -> str:
    """Windows that were found: picture, score, key, second."""
    cards = [
        f'<figure><img alt="{html.escape(key)}" src="{data_url(image)}"><figcaption><b>{score:.2f}</b>, from'
        f" second {second:.1f}<br>{html.escape(key)}</figcaption></figure>"
        for image, score, key, second in found
    ]
    return f'<div class="aura-hits">{"".join(cards)}</div>'


def messages(told: Sequence[str] = (), warned: Sequence[str] = (), answer: str = "") -> str:
    """An answer in large letters, what else there is to say, and warnings."""
    parts = [f'<div class="aura-answer">{html.escape(answer)}</div>'] if answer else []
    parts += [f'<div class="aura-told">{html.escape(text)}</div>' for text in told]
    parts += [f'<div class="aura-warned" role="status">Warning: {html.escape(text)}</div>' for text in warned]
    return "".join(parts)


def refusal(text: str) -> str:
    return f'<div class="aura-refused" role="alert">{html.escape(text)}</div>'


def _json(value: object) -> str:
    return html.escape(json.dumps(value), quote=True)
