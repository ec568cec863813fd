"""What the Markdown files say can be done: snippets run, commands parse, links lead on."""

import argparse
import contextlib
import importlib.util
import io
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import lib

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("lessons/*.md"),
        *ROOT.glob("notebooks/reference/*.md"),
        ROOT / "tests" / "benchmarks" / "RESULTS.md",
        *ROOT.glob("tests/benchmarks/results/*.md"),
    )
)
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
TOPS = ("lib", "lessons", "notebooks", "tests", "demo_app", ".ci", ".github")

# Snippets that the test of all snippets leaves to another one: a line of theirs, and why
ELSEWHERE = {
    "from gradio_client import Client": "wants a page: test_the_client_of_the_readme",
    "class Nudge(Editor[NudgeConfig]):": "is a file in lib/editors: test_recipes",
    "class Push(lib.Editor):": "is a file of the reader's own: test_own_method",
    "from my_method import Push": "wants that file: test_own_method",
    "run.scores[6]": "goes on from the snippet before it: test_own_method",
    'lib.read_cases("facts.csv")': "wants a file of the reader's own: tests/data",
    '"meta-llama/Llama-3.1-8B"': "wants a card and a model of eight billion weights",
}
# Paths that are named and need not be there: what a reader is to write
TO_WRITE = {
    "lib/editors/nudge.py",
    "tests/reference/current/nudge.json",
    "lessons/l3_6_name.py",
    ".github/workflows/check.yml",  # in a repository of a student
}


def blocks(language):
    """(file, text) of every block in a language."""
    return [
        (name, text)
        for name in FILES
        for kind, text in BLOCK.findall(TEXTS[name])
        if kind == language
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name, text", blocks("python"))
def test_snippets_run(name, text, request, monkeypatch):
    compile(text, name, "exec")
    if any(line in text for line in ELSEWHERE):
        return
    if "lib.load()" in text:
        lm = request.getfixturevalue("default_lm")
        monkeypatch.setattr(lib, "load", lambda *_: lm)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(text, name, "exec", dont_inherit=True), {"__name__": "snippet"})
    if "# Rome" in text:
        assert "Rome" in said.getvalue()


@pytest.mark.slow
def test_the_client_of_the_readme(default_lm, monkeypatch):
    from demo_app.__main__ import open_page

    (text,) = (text for _, text in blocks("python") if "gradio_client" in text)
    demo, _ = open_page(default_lm, 7860)
    try:
        made, said = {}, io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(text.replace("http://127.0.0.1:7860", demo.local_url), made)
        assert made["done"]["written"] and made["done"]["rows"][0]["after"].startswith(" Rome")
        made["client"].close()
    finally:
        demo.close()


def commands():
    """(file, module, arguments, is a whole command) of every `python -m …` that is named."""
    found = []
    for name in FILES:
        text = TEXTS[name]
        lines = [line for kind, block in BLOCK.findall(text) for line in block.splitlines()
                 if kind in ("bash", "sh")]  # fmt: skip
        mentions = [" ".join(code.split()) for code in INLINE.findall(BLOCK.sub("", text))]
        for line in (*lines, *mentions):
            for part in re.split(r"&&|\|\||[;|]", line):
                words = shlex.split(part, comments=True)
                if "-m" not in words or not re.search(r"python3?$|torchrun|accelerate", words[0]):
                    continue
                at = words.index("-m")
                arguments = [word for word in words[at + 2 :] if word != "…"]
                if ">" in arguments:
                    arguments = arguments[: arguments.index(">")]
                found.append((name, words[at + 1], arguments))
    return list({(n, m, *a): (n, m, a) for n, m, a in found}.values())


class Parsed(Exception):
    """The command's arguments were understood; it goes no further."""


@pytest.mark.parametrize(
    "name, module, arguments", commands(), ids=lambda v: " ".join(v) if isinstance(v, list) else v
)
def test_commands_are_understood(name, module, arguments, monkeypatch, tmp_path, capsys):
    """The module exists, and its own parser knows the options, choices and types that are named."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"{name} names the module {module}"
    if module == "venv":
        return
    if module == "pytest":
        for word in arguments:
            if word.startswith("tests/"):
                assert (ROOT / word).exists(), f"{name} names {word}"
        return
    source = spec.origin if not spec.submodule_search_locations else None
    main = Path(source or Path(spec.origin).with_name("__main__.py")).read_text(encoding="utf-8")
    if "argparse" not in main and module != "lib":
        assert not arguments, f"{module} takes no arguments, {name} gives it {arguments}"
        return
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser, *given):
        parse(parser, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.chdir(tmp_path)
    for loaded in [m for m in sys.modules if m == f"{module}.__main__" or m == module]:
        if loaded not in ("lib", "demo_app"):
            monkeypatch.delitem(sys.modules, loaded)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Parsed:
        return
    except SystemExit as stopped:
        said = capsys.readouterr().err
        mentioned = "arguments are required" in said and not any("-" == a[0] for a in arguments)
        assert not stopped.code or mentioned, f"{name}: {said}"
    else:
        pytest.fail(f"{module} was run: it asked no parser")


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", FILES)
def test_links_lead_somewhere(name):
    folder = (ROOT / name).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", TEXTS[name])):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        assert not path or (folder / path).exists(), f"{name} links {target}"
        if anchor:
            page = (folder / path) if path else (ROOT / name)
            assert anchor in anchors(page.read_text(encoding="utf-8")), f"{name} links {target}"


@pytest.mark.parametrize("name", FILES)
def test_paths_that_are_named_exist(name):
    for code in INLINE.findall(BLOCK.sub("", TEXTS[name])):
        path, _, test = code.partition("::")
        if not re.fullmatch(r"[\w.*]+(/[\w.*{}-]+)+/?", path) or path.split("/")[0] not in TOPS:
            continue
        assert path in TO_WRITE or list(ROOT.glob(path)), f"{name} names {code}"
        assert not test or f"\ndef {test}(" in (ROOT / path).read_text(), f"{name} names {code}"
