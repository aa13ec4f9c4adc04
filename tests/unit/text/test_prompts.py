"""Class names become the sentences that the templates say, and no others."""

import pytest

from tinyclap.errors import ConfigError
from tinyclap.text.prompts import CLAP_TEMPLATE, ENSEMBLE, TINYCLAP_TEMPLATE, make_prompts, readable


def test_the_published_templates_are_those_of_the_code():
    assert make_prompts(["dog"], TINYCLAP_TEMPLATE) == [["this is the sound of dog"]]
    assert make_prompts(["dog"], CLAP_TEMPLATE) == [["this is a sound of dog"]]


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("air_conditioner", {}, "air conditioner"),
        ("air_conditioner", {"underscores": "keep"}, "air_conditioner"),
        ("cafe/restaurant", {}, "cafe restaurant"),
        ("cafe/restaurant", {"slashes": "or"}, "cafe or restaurant"),
        ("cafe/restaurant", {"slashes": "keep"}, "cafe/restaurant"),
        ("grocery_store", {"slashes": "or"}, "grocery store"),
    ],
)
def test_underscores_and_slashes_become_what_is_asked(name, options, wanted):
    assert readable(name, **options) == wanted


def test_an_ensemble_gives_every_class_every_template_in_order():
    prompts = make_prompts(["dog_bark", "rain"], ENSEMBLE)
    assert [len(of_class) for of_class in prompts] == [len(ENSEMBLE)] * 2
    assert prompts[0] == [template.replace("{}", "dog bark") for template in ENSEMBLE]
    assert prompts[1][-1] == "rain can be heard"


@pytest.mark.parametrize("template", ["this is a sound", "{} and {}", ""])
def test_a_template_without_one_place_for_the_name_is_refused(template):
    with pytest.raises(ConfigError, match="exactly once"):
        make_prompts(["dog"], ["{}", template])


def test_other_braces_in_a_template_are_text():
    assert make_prompts(["dog"], "{} {x}") == [["dog {x}"]]


def test_no_template_at_all_is_refused():
    with pytest.raises(ConfigError, match="no template"):
        make_prompts(["dog"], [])


@pytest.mark.parametrize("key", ["underscores", "slashes"])
def test_an_unknown_way_is_refused_by_its_key(key):
    with pytest.raises(ConfigError, match=f"{key}='dash'"):
        make_prompts(["dog"], "{}", **{key: "dash"})
