"""The reference of recipes is of the models that check them."""

from aura.train.recipe import Recipe
from tools.recipe_reference import PAGE, default, limits, main, make_page, words_of


def test_the_page_is_current():
    assert main(["--check"]) == 0


def test_every_key_of_the_recipe_is_there():
    page = make_page()
    for key in (
        "`layer_decay`",
        "`hide_placement`",
        "`push_every`",
        "towers: `kind: imu_transformer`",
        "`label_smoothing`",
    ):
        assert key in page, key
    assert PAGE.read_text() == page


def test_types_defaults_and_limits_in_words():
    fields = Recipe.model_fields
    assert (words_of(fields["init"].annotation), default(fields["init"])) == ("text or null", "`null`")
    assert (words_of(fields["embedding"].annotation), limits(fields["embedding"])) == ("whole number", " > 0")
    assert default(fields["embedding"]) == "`256`"
    assert default(fields["data"]) == "required"
