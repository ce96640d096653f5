"""Small files of very large frames take little memory, on the page and in `embed`."""

import json
import subprocess
import sys
from pathlib import Path

from tests.data.films import huge

ROOT = Path(__file__).parents[2]
MB = 1 << 20
CODE = """
import json, re, sys
from pathlib import Path

from aura.demo.readers import read_film
from aura.train.recipe import make_recipe
from tests.inference.tiny import tiny_aura
from tests.train.batches import tiny_recipe


def peak():
    # Not ru_maxrss, which begins with the size of the process that started this one.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])


def taken(act):
    before = peak()
    act()
    return (peak() - before) << 10


values = tiny_recipe().model_dump(mode="json")
values["inputs"]["video"]["frames"] = 8
model = tiny_aura(recipe=make_recipe(values))
wide, large, small = map(Path, sys.argv[1:])
read_film(small), model.embed(video=small)  # what is loaded once
shapes = []
first = taken(lambda: shapes.append(read_film(wide)[0].shape))
then = taken(lambda: shapes.append(tuple(model.embed(video=large, by_window=True).vectors.shape)))
print(json.dumps([first, then, shapes]))
"""


def test_the_peak_of_memory_is_a_few_frames(tmp_path):
    """The page: 300 MB; frames of the height that it shows, in a list that is joined, took 500 MB. `embed`: 400 MB more, where
    an 8K frame is 57 MB as it is stored and 113 MB as RGB; the eight of a window, joined, took over 800 MB."""
    films = {"wide": huge(12_000, 768, 80), "large": huge(8192, 4608, 20), "small": huge(64, 48, 20)}
    for name, content in films.items():
        assert len(content) < 5 * MB
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", CODE, *(str(tmp_path / name) for name in films)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert not found.returncode, found.stderr
    page, embed, shapes = json.loads(found.stdout)
    assert shapes == [[80, 86, 1351, 3], [1, 16]]
    assert page < 300 * MB, page / MB
    assert embed < 400 * MB, embed / MB
