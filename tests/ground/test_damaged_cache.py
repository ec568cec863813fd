"""The page on a cache folder in which every file is damaged."""

from __future__ import annotations

import urllib.request
from dataclasses import replace

import pytest
import torch

import lib
from lib import computed_once as store
from lib.model import packaged_models

from ..demo_app.conftest import STRONG
from ..support import tiny
from ..support.editor_settings import quick


@pytest.mark.slow
def test_the_page_starts_with_every_file_of_its_cache_damaged(tmp_path, monkeypatch):
    """A tiny model stands for the packaged one; its edits need all that the page has computed."""
    pytest.importorskip("gradio")
    from demo_app.__main__ import open_page

    def convert(wanted, gguf, folder):
        tiny.model("llama").model.save_pretrained(folder)
        tiny.tokenizer().save_pretrained(folder)

    standing = replace(packaged_models.DEFAULT, name="tiny-llama", sink=None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("lib.editors.shared.config._presets", lambda: STRONG)
    monkeypatch.setattr(packaged_models, "DEFAULT", standing)
    monkeypatch.setattr(packaged_models, "_download", lambda *_, **__: None)
    monkeypatch.setattr(packaged_models, "_unpack", lambda *_: None)
    monkeypatch.setattr(packaged_models, "_convert", convert)

    def started() -> dict[str, torch.Tensor]:
        """What an edit on the open page makes of the weights."""
        store.forget()
        demo, studio = open_page(lib.load(dtype="float32"), 20860)
        try:
            assert urllib.request.urlopen(demo.local_url, timeout=30).status == 200
            found, fact = {}, lib.Fact("alpha", "{} is", "xy")
            for editor in ("ultraedit", "rome", "alphaedit"):
                made = lib.EDITORS[editor](studio.lm, **quick(editor)).edit([fact])
                found |= {f"{editor} {name}": one.dense() for name, one in made.weights.items()}
            return found
        finally:
            demo.close()
            studio.close()

    wanted = started()
    folder = packaged_models.cache_folder()
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    whole = {path: path.read_bytes() for path in paths}
    kinds = {path.parent.name for path in whole}
    assert kinds >= {"moments", "eigen", "warmup", standing.folder.name}
    for spoiled in (lambda data: data[: len(data) // 2] + b"x" + data[len(data) // 2 + 1 :],
                    lambda data: data[:-9], lambda data: b""):  # fmt: skip
        for path, data in whole.items():
            path.write_bytes(spoiled(data))
        with pytest.warns(lib.errors.CacheWarning):
            found = started()
        assert all(torch.equal(found[name], weight) for name, weight in wanted.items())
        assert {path: path.read_bytes() for path in whole} == whole
