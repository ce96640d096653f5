"""Pages of HTML that need no other file: headings, words, tables, pictures.

Each function gives a piece of a page, all text in it escaped; `page` puts pieces together.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from matplotlib.figure import Figure

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;padding:0 1.5rem;max-width:76rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #8884;padding-bottom:.2rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;margin:.8rem 0}
caption{text-align:left;padding-bottom:.3rem;opacity:.75}
td,th{padding:.2rem .8rem;text-align:left;vertical-align:top;border-bottom:1px solid #8884}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
figure{margin:1rem 0}figcaption{opacity:.75}
img{max-width:100%;background:#fff}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
.warn{border-left:4px solid #d62728;padding:.2rem .8rem}
"""


def page(title: str, parts: Sequence[str]) -> str:
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def words(text: str, *, warn: bool = False) -> str:
    return f"<p{' class=warn' if warn else ''}>{html.escape(text)}</p>"


def preformatted(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def table(rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """The first row is the head. Columns of which all cells look like numbers are set right."""
    numbers = [all(_number(row[i]) for row in rows[1:]) for i in range(len(rows[0]))] if len(rows) > 1 else []
    numbers = numbers or [False] * len(rows[0])

    def line(row: Sequence[str], tag: str) -> str:
        cells = [f"<{tag}{' class=n' if n else ''}>{html.escape(c)}</{tag}>" for c, n in zip(row, numbers)]
        return f"<tr>{''.join(cells)}</tr>"

    top = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(line(row, "td") for row in rows[1:])
    return f'<div class="wide"><table>{top}<thead>{line(rows[0], "th")}</thead><tbody>{body}</tbody></table></div>'


def _number(cell: str) -> bool:
    return not cell or cell[0] in "0123456789+-.–"


def picture(image: Figure | bytes, caption: str) -> str:
    """A figure of matplotlib, or the bytes of a PNG; the caption says what it shows."""
    if isinstance(image, Figure):
        buffer = io.BytesIO()
        image.savefig(buffer, format="png", dpi=110)
        image = buffer.getvalue()
    source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    text = html.escape(caption)
    return (
        f'<figure><img alt="{html.escape(caption, quote=True)}" src="{source}"><figcaption>{text}</figcaption></figure>'
    )


def details(summary: str, part: str) -> str:
    """Hidden until it is clicked."""
    return f"<details><summary>{html.escape(summary)}</summary>{part}</details>"
