"""Activities in the forms under which people ask for them: the phrases that a model brings for use without its text tower."""

from __future__ import annotations

import re
from pathlib import Path

# Names of activities that are played; other names are done ("doing push-ups").
# fmt: off
PLAYED = frozenset((
    "american football", "badminton", "baseball", "basketball", "beach volleyball", "billiards", "cricket", "croquet",
    "darts", "dodgeball", "field hockey", "football", "frisbee", "golf", "handball", "hopscotch", "ice hockey",
    "kickball", "lacrosse", "mini golf", "music", "rugby", "soccer", "softball", "squash", "table tennis", "tennis",
    "tug of war", "volleyball", "water polo",
))
# fmt: on
# Names whose verb is neither "play" nor "do".
VERBAL = {
    "ballet": "dancing ballet",
    "bike repair": "repairing a bike",
    "car driving": "driving a car",
    "dance": "dancing",
    "health": "caring for the health",
    "hip hop": "dancing hip hop",
    "horse riding": "riding a horse",
    "house cleaning": "cleaning the house",
    "karaoke": "singing karaoke",
    "rope jumping": "jumping rope",
    "shot put": "putting the shot",
}
# Names that hold a word in -ing, which is no verb there.
NAMES = frozenset(
    (
        "breathing exercises",
        "circuit training",
        "interval training",
        "jumping jacks",
        "swimming strokes",
        "walking lunges",
    )
)
# Bare forms that the rules of `_bare_word` miss.
IRREGULAR = {
    "bandaging": "bandage",
    "bathing": "bathe",
    "breathing": "breathe",
    "changing": "change",
    "completing": "complete",
    "dying": "die",
    "escaping": "escape",
    "exhaling": "exhale",
    "exploring": "explore",
    "hitchhiking": "hitchhike",
    "inhaling": "inhale",
    "lunging": "lunge",
    "lying": "lie",
    "massaging": "massage",
    "measuring": "measure",
    "paragliding": "paraglide",
    "pedalling": "pedal",
    "plunging": "plunge",
    "preparing": "prepare",
    "saluting": "salute",
    "shovelling": "shovel",
    "snorkelling": "snorkel",
    "tasting": "taste",
    "trampolining": "trampoline",
    "tying": "tie",
    "untying": "untie",
}
# A stem that lost its e: rid(ing), rais(ing), dribbl(ing), rotat(ing), bounc(ing), mov(ing), sledg(ing).
LOST_E = re.compile(r"^[^aeiou]*[aeiouy][^aeiouwxy]$|[^s]s$|[^aeiourwl]l$|[^aeiou]at$|[cv]$|[^z]z$|dg$")


def variants(activity: str) -> list[str]:
    """The forms of an activity, without duplicates: as it is given, as a gerund, as a sentence, and bare.

    "sitting on a chair" gives itself, "a person is sitting on a chair" and "sit on a chair"; the name "soccer" gives itself,
    "playing soccer", "a person is playing soccer" and "play soccer".
    """
    gerund = activity if _verb(activity) is not None else VERBAL.get(activity, _performed(activity))
    return list(dict.fromkeys((activity, gerund, f"a person is {gerund}", bare(gerund))))


def bare(gerund: str) -> str:
    """The bare form of a phrase with a verb in -ing: "picking up and throwing a ball" gives "pick up and throw a ball"."""
    words = gerund.split()
    verb = _verb(gerund)
    for i, word in enumerate(words):
        joined = word.endswith("ing") and (words[i - 1] == "and" or words[max(i - 2, 0) : i] == ["and", "then"])
        if i == verb or joined:
            words[i] = _bare_word(word)
    return " ".join(words)


def read_phrases(file: str | Path) -> list[str]:
    """All forms of the activities of a text file, one a line, without duplicates; empty lines and those with # are left out.

    Raises ValueError for a file that names no activity, OSError for one that cannot be read.
    """
    lines = (line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines())
    found = dict.fromkeys(form for line in lines if line and not line.startswith("#") for form in variants(line))
    if not found:
        raise ValueError(f"{file} names no activity: write one a line, such as `walking up stairs`")
    return list(found)


def _performed(name: str) -> str:
    return f"{'playing' if name in PLAYED else 'doing'} {name}"


def _verb(activity: str) -> int | None:
    """Where the verb in -ing is: the first word, or the second ("rock climbing"); None for a name."""
    if activity in NAMES or activity in VERBAL:
        return None
    return next((i for i, word in enumerate(activity.split()[:2]) if len(word) > 4 and word.endswith("ing")), None)


def _bare_word(gerund: str) -> str:
    if gerund in IRREGULAR:
        return IRREGULAR[gerund]
    stem = gerund.removesuffix("ing")
    if re.search(r"([bdgmnprt])\1$", stem):
        return stem[:-1]  # running, hopping; but not pressing, rolling
    return stem + "e" if LOST_E.search(stem) else stem
