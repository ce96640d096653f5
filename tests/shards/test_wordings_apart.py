"""What training says is not what Berkeley MHAD and SP-SW-HAR ask: zero-shot by words that were not seen.

Texts of motion capture come from tables beside its files, not from here, and are not looked at.
"""

import re
from pathlib import Path

import pytest

from aura.tasks.zeroshot import load_prompts
from shards import berkeley_mhad_texts, sp_sw_har_texts, utd_mhad_texts
from shards.synthetic import words
from shards.synthetic_everyday_words import EVERYDAY
from shards.synthetic_words import ACTIVITIES

PROMPTS = Path(__file__).parents[2] / "recipes" / "prompts"
SUBJECT = re.compile(r"^(a person|someone|somebody|the subject) (is )?")
PACE = re.compile(r",? (slowly|quickly|at a normal pace)$")

# UTD-MHAD's own prompts (recipes/prompts/utd_mhad.yaml) ask by this one too, and `zero_shot.yaml` trains on all words of UTD-MHAD.
SHARED = {"rising from a seated position"}
# One word from a wording. Of another movement:
NEAR = {
    "walking backward": "walking forward",
    "walks backward": "walking forward",
    "walking upstairs": "walking forward",
    "walking downstairs": "walking forward",
    "runs on the spot": "jumping on the spot",
    "walks on the spot": "jumping on the spot",
    "jogging on the spot": "jumping on the spot",
    "walking on the spot": "jumping on the spot",
    "pushing with both hands": "clapping with both hands",
    "sits down on a chair": "sitting still on a chair",
    "sitting down on a chair": "sitting still on a chair",
    # Of the same, in UTD-MHAD's own prompts:
    "standing up from a chair": "getting up from a chair",
}


def stem(word: str) -> str:
    """`rising` and `rises`, `getting` and `gets`, `claps` and `clapping` are one; nothing is promised of other words."""
    cut = re.sub(r"(ing|ies|es|s)$", "", word) if len(word) > 4 else word.removesuffix("s")
    return re.sub(r"([bdgmnpt])\1$", r"\1", cut).removesuffix("e")


def plain(text: str) -> tuple[str, ...]:
    """Stems in lower case, without who does it, how fast, articles, punctuation and the verb to do."""
    said = PACE.sub("", SUBJECT.sub("", re.sub(r"[^\w\s-]", "", text.lower())))
    left_out = {"a", "an", "the", "do", "does", "doing"}
    return tuple(stem(word) for word in re.split(r"[\s-]+", said) if word not in left_out)


def one_word_apart(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Whether one word replaced, added or left out makes the one the other."""
    if len(a) > len(b):
        a, b = b, a
    if len(a) == len(b):
        return sum(x != y for x, y in zip(a, b)) == 1
    return any(a == b[:i] + b[i + 1 :] for i in range(len(b)))


def asked() -> dict[tuple[str, ...], str]:
    files = (load_prompts(PROMPTS / f"{name}.yaml") for name in ("berkeley_mhad", "sp_sw_har"))
    return {plain(text): text for file in files for name in file.classes for text in file.sentences(name)}


def zero_shot_texts() -> set[str]:
    """All that the synthetic human and UTD-MHAD say of two words or more."""
    said = {
        text.rstrip(".")
        for activity in (ACTIVITIES | EVERYDAY).values()
        for side in ("right", "left")
        for pace in ("slow", "normal", "fast")
        for _, text in words(activity, side, pace)
    }
    for action in utd_mhad_texts.ACTIONS:
        said |= {action.label, *action.descriptions, *action.paraphrases}
    return {text for text in said if len(plain(text)) > 1}


def own_texts() -> set[str]:
    """What the shards of the two data sets give to training."""
    actions = (*berkeley_mhad_texts.ACTIONS, *sp_sw_har_texts.ACTIVITIES.values())
    turns = (text for texts in sp_sw_har_texts.TURNS.values() for text in texts)
    texts = {*turns, *(text for a in actions for text in (a.label, *a.descriptions))}
    return {text for text in texts if len(plain(text)) > 1}


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        ("A person gets up from a chair, slowly.", "getting up from a chair"),
        ("Someone is getting up from the chair.", "getting up from a chair"),
        ("The subject takes a seat, at a normal pace.", "taking a seat"),
        ("does star jumps", "doing star jumps"),
        ("rises from a seated position", "rising from a seated position"),
    ],
)
def test_who_how_fast_and_the_form_of_the_verb_do_not_matter(text: str, wording: str) -> None:
    assert plain(text) == plain(wording)
    assert plain(wording) in asked()


def test_no_training_text_is_what_is_asked() -> None:
    wordings = asked()
    same = {text: wordings[plain(text)] for text in zero_shot_texts() | own_texts() if plain(text) in wordings}
    assert set(same) == SHARED


def test_what_is_one_word_apart_is_known() -> None:
    known = {(plain(text), plain(wording)) for text, wording in NEAR.items()}
    found = {
        (said, wording)
        for said in map(plain, zero_shot_texts())
        for wording in asked()
        if one_word_apart(said, wording)
    }
    assert found == known
