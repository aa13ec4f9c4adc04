"""The API reference: a docstring in the house's form becomes the Markdown that is meant."""

import ast
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import build_api

SOURCE = '''
"""A module."""

def heard(wavs, rate_hz=8000, *, top=None):
    """Say what is heard; see :func:`tinyclap.other.say`.

    Arguments
    ---------
    wavs : torch.Tensor, shape (B, T)
        In [-1, 1];
        two lines.
    rate_hz, top
        As in ``say``.

    Returns
    -------
    list of str
        Names, where x < y.

    Raises
    ------
    ConfigError
        None is there.

    Example
    -------
    >>> heard([])
    []
    """

def _hidden():
    pass

class Ear:
    """Hears."""

    def __init__(self, size=2):
        self.size = size

    @property
    def width(self):
        """How wide it is."""

    def listen(self, wav):
        """Listen to (T,)."""

    def undescribed(self):
        pass
'''


@pytest.fixture(scope="module")
def nodes():
    return build_api.public(ast.parse(SOURCE).body)


def test_private_names_are_left_out(nodes):
    assert [node.name for node in nodes] == ["heard", "Ear"]


def test_a_function_is_its_signature_and_its_sections(nodes):
    text = build_api.documented(nodes[0], "m.heard", 3, {"tinyclap.other.say": "use"}, "audio")
    assert text.startswith(
        '<a id="m.heard"></a>\n\n### heard\n\n```python\nheard(wavs, rate_hz=8000, *, top=None)\n```'
    )
    assert "see [`tinyclap.other.say`](use.md#tinyclap.other.say)." in text
    assert "- **wavs** (torch.Tensor, shape (B, T)): In [-1, 1]; two lines.\n- **rate_hz, top**: As in `say`." in text
    assert "**Returns**\n\n- list of str: Names, where x &lt; y." in text
    assert "**Raises**\n\n- **ConfigError**: None is there." in text
    assert text.endswith("**Example**\n\n```pycon\n>>> heard([])\n[]\n```")


def test_a_class_shows_how_it_is_made_and_the_methods_that_say_what_they_do(nodes):
    text = build_api.documented(nodes[1], "m.Ear", 3, {}, "use")
    assert "class Ear(size=2)" in text and "#### width\n\n```python\nwidth\n```" in text and "listen(wav)" in text
    assert "undescribed" not in text


def test_a_name_on_its_own_page_needs_no_file():
    assert build_api.link("m.heard", {"m.heard": "use"}, "use") == "[`m.heard`](#m.heard)"
    assert build_api.link("m.gone", {}, "use") == "`m.gone`"


def test_every_page_finds_modules_and_nothing_is_on_two():
    parsed = build_api.trees()
    assert all(parsed.values()) and len(parsed) >= 8
    names = [name for modules in parsed.values() for name in modules]
    assert len(names) == len(set(names)) >= 100


def test_a_package_s_private_modules_are_left_out(tmp_path, monkeypatch):
    for name in ("p/__init__.py", "p/seen.py", "p/_hidden.py", "p/deep/__init__.py", "p/deep/er.py", "p/data/x.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(build_api, "ROOT", tmp_path)
    assert list(build_api.modules_of("p")) == ["p", "p.deep", "p.deep.er", "p.seen"]
    assert build_api.modules_of("absent") == {}
