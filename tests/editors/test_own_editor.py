"""An editor that a user writes is registered or read from a file; a slip is one sentence."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.editors.shared.editor_file import editor_of
from lib.errors import EditError

from ..support import tiny

FACTS = [lib.Fact("cat", "I saw a {}", "xy")]
CLASS = """
import lib
class Mine(lib.Editor):
    {name}
    def write(self, facts, after):
        module = self.lm.mlp_out(1)
        return after.with_weights({{module: 1.1 * self.lm.weight(module, after)}})
"""
FUNCTION = """
import lib
def edit(lm, facts, after):
    return after.with_weights({lm.mlp_out(1): 1.1 * lm.weight(lm.mlp_out(1), after)})
"""


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture
def editors(monkeypatch):
    """EDITORS, which has its own entries again after the test."""
    before = dict(lib.EDITORS)
    yield lib.EDITORS
    lib.EDITORS.clear()
    lib.EDITORS.update(before)


def factors(lm):
    return {lm.mlp_out(1): (torch.ones(32, 1), 0.01 * torch.ones(1, 48))}


def good(self, facts, after):
    return lib.add_low_rank(self.lm, after, factors(self.lm))


def own(write=good, **parts):
    """A class as a user writes it, outside of the library."""
    given = {"__module__": "mine", "name": "mine", "write": write, **parts}
    return type("Mine", (lib.Editor,), {k: v for k, v in given.items() if v})


def move(how):
    def write(self, facts, after):
        module = self.lm.model.get_submodule(self.lm.mlp_out(1))
        how(module)
        return after

    return write


def by_data(module):
    module.weight.data += 0.5


def in_place(module):
    with torch.no_grad():
        module.weight.mul_(1.5)


def by_parameter(module):
    module.weight = torch.nn.Parameter(torch.ones_like(module.weight))


SLIPS = {
    "no name": (own(name=None), "Mine has no name. Write name = "),
    "returns None": (own(lambda *_: None), "write returned NoneType, not a lib.Patch"),
    "returns a dict": (own(lambda s, *_: s.lm.model.state_dict()), "returned OrderedDict, not a"),
    "returns a model": (own(lambda s, *_: s.lm.model), "returned LlamaForCausalLM, not a"),
    "adds in place": (own(move(by_data)), "changed the model's own weights"),
    "multiplies in place": (own(move(in_place)), "changed the model's own weights"),
    "another parameter": (own(move(by_parameter)), "changed the model's own weights"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_one_sentence(slip):
    kind, said = SLIPS[slip]
    lm = tiny.model("llama")  # some of them change it
    with pytest.raises(EditError, match=said) as error:
        kind(lm).edit(FACTS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "write",
    [lambda s, f, after: lib.EMPTY, lambda s, f, after: good(s, f, lib.EMPTY)],
    ids=["nothing", "the new fact alone"],
)
@pytest.mark.parametrize("before", ["mine", "retrieval", "grace"])
def test_a_patch_without_the_earlier_edits_is_refused(lm, write, before):
    kind = own if before == "mine" else lambda: lib.EDITORS[before]
    patch = kind()(lm).edit(FACTS, check=False)
    with pytest.raises(EditError, match="without the earlier edits.*Begin from `after`"):
        own(write)(lm).edit(FACTS, after=patch, check=False)
    more = own()(lm).edit(FACTS, after=patch, check=False)
    assert len(more.log) == 2


def test_own_constructor_and_a_whole_matrix_go_on(lm):
    """Neither is a slip: an editor without settings of its own, and weights that replace others."""

    def init(self, lm):
        self.lm = lm

    whole = own(lambda s, f, after: after.with_weights(
        {s.lm.mlp_out(1): s.lm.weight(s.lm.mlp_out(1), after) + 0.1}), __init__=init)  # fmt: skip
    first = own()(lm).edit(FACTS, check=False)
    assert len(whole(lm).edit(FACTS, after=first, check=False).log) == 2


def test_a_class_is_registered_and_replaced(editors, lm):
    editors["mine"] = own()
    editors["mine"] = own()  # as a notebook's cell does that is run again
    run = lib.stream(lm, "mine", FACTS, eval_at=()).finish()
    assert run.patch.log[0].editor == "mine" and editors["mine"](lm).title == "MINE"


@pytest.mark.parametrize(
    ("name", "made", "said"),
    [
        ("mine", lambda lm: own()(lm), "should be a class with name = 'mine', not <"),
        ("mine", lambda lm: own(name=None), "should be a class with name = 'mine', not <"),
        ("other", lambda lm: own(), "should be a class with name = 'other', not <"),
        ("rome", lambda lm: own(name="rome"), "The library has an editor 'rome'"),
    ],
)
def test_what_cannot_be_registered_is_a_sentence(editors, lm, name, made, said):
    before = dict(editors)
    with pytest.raises(EditError, match=said):
        editors[name] = made(lm)
    assert dict(editors) == before


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (CLASS.format(name='name = "mine"'), "mine"),
        (CLASS.format(name=""), "file"),
        (FUNCTION, "file"),
    ],
    ids=["class", "class without a name", "function"],
)
def test_a_file_holds_an_editor(editors, lm, tmp_path, text, name):
    path = tmp_path / "file.py"
    path.write_text(text)
    kind = editor_of(path)
    assert editors[name] is kind and kind.name == name
    assert kind(lm).edit(FACTS, check=False).log[0].editor == name
    assert editor_of(tmp_path / "wise.py", FUNCTION).name == "my_wise"  # as page 12 calls its file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "needs a function edit.*has 0 such classes"),
        (CLASS.format(name="") + CLASS.format(name="").replace("Mine", "Two"), "has 2 such"),
        (CLASS.format(name='name = "rome"'), "The library has an editor 'rome'"),
    ],
)
def test_a_file_without_one_editor_is_refused(editors, tmp_path, text, said):
    path = tmp_path / "file.py"
    path.write_text(text)
    with pytest.raises(EditError, match=said):
        editor_of(path)
