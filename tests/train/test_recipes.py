"""Recipes: all build, settings are parsed and checked, docstrings say what users need."""

from __future__ import annotations

import pytest

from smalto.errors import UsageError
from smalto.train.recipes import RECIPES, build, describe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_describes_itself(name: str) -> None:
    text = describe(name)
    assert f"smalto train {name} --data" in text
    assert "Time:" in text
    assert "Score:" in text


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_a_run(name: str) -> None:
    run = build(name, {"learning_rate": "1e-4", "batch_size": "2"})
    assert run.name == name
    assert run.batch_size == 2
    assert run.optimisation.learning_rate == 1e-4
    assert run.publish is not None


def test_optional_settings_take_none_and_numbers() -> None:
    assert build("fixed-lambda-mse", {"target_bpp": "none"}).settings["target_bpp"] is None
    assert build("fixed-lambda-mse", {"target_bpp": "0.3"}).settings["target_bpp"] == 0.3


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nothing", {}, "no recipe is called 'nothing'"),
        ("image-codec", {"speed": "1"}, "no setting 'speed'"),
        ("image-codec", {"batch_size": "many"}, "batch_size=many: expected int"),
        ("feature-elic", {"schedule": "steps"}, "schedule=steps: expected cosine or plateau"),
    ],
)
def test_wrong_words_are_named(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(name, settings)


@pytest.mark.parametrize("name", ["feature-hyperprior", "feature-elic"])
def test_feature_codecs_train_as_the_paper_does(name: str) -> None:
    run = build(name, {"schedule": "plateau", "rate_lambda": "0.007"})
    optimisation = run.optimisation
    assert (optimisation.schedule, optimisation.method, optimisation.learning_rate) == ("plateau", "adam", 1e-4)
    assert (optimisation.plateau.floor, optimisation.plateau.last_rounds) == (1e-8, 20)
    assert run.validation is not None
    assert run.settings["schedule"] == "plateau"
    usual = build(name, {})
    assert (usual.optimisation.schedule, usual.validation, usual.settings["rate_lambda"]) == ("cosine", None, None)
