"""The command line: arguments in, library calls, tables out; `python -m lib --help` teaches it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import export_cli, parallel, training_cli

USAGE = """\
Edit what a language model knows, and measure what else moved.

  python -m lib fetch
      brings the embedded default model here ahead of time
  python -m lib edit --subject "The Eiffel Tower" --prompt "{} is in the city of" --target Rome
      prints the answers before and after; the model itself is never changed
  python -m lib stream --editor rome --data FILE --edits 100 --eval-at 0,100 --json OUT.json
      writes many facts one batch after another and measures at given points; with
      `torchrun --nproc-per-node 2 -m lib stream …` processes share the reading of a batch
  python -m lib scan --editor rome --model NAME --data FILE --budget 1200
      tries the editor over layers on a few cases and prints a preset for a model nobody has tuned
  python -m lib train --editor mend --data FILE --steps 1000
      trains the network of an editor that has one, on some facts, and keeps others apart
  python -m lib export --patch FILE --to FOLDER --as peft
      writes a saved patch as a PEFT adapter, or with `--as model` the whole edited model

Every command: `python -m lib COMMAND --help`. Exit code 2 means that the input was wrong.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, or 2 after one sentence about what was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m lib",
        description=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _fetch_arguments(commands)
    _edit_arguments(commands)
    _stream_arguments(commands)
    _scan_arguments(commands)
    _train_arguments(commands)
    _export_arguments(commands)
    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{parser.prog} {given.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{parser.prog} {given.command}: stopped", file=sys.stderr)
        return 130
    return 0


def _fetch_arguments(commands: Any) -> None:
    fetch = commands.add_parser("fetch", help="bring the embedded default model here ahead of time")
    fetch.set_defaults(run=_fetch)


def _edit_arguments(commands: Any) -> None:
    edit = commands.add_parser("edit", help="write one fact, print the answers before and after")
    edit.add_argument("--subject", help="what the fact is about, as it stands in the prompt")
    edit.add_argument("--prompt", required=True, help='with {} or the subject itself: "{} is in"')
    edit.add_argument("--target", required=True, help="the new answer")
    edit.add_argument(
        "--ask", action="append", default=[], metavar="PROMPT", help="ask this too (repeatable)"
    )
    edit.add_argument("--after", type=Path, help="a saved patch to go on from")
    edit.add_argument("--save", type=Path, help="keep the result as a patch file")
    _common(edit)
    edit.set_defaults(run=_edit)


def _stream_arguments(commands: Any) -> None:
    stream = commands.add_parser(
        "stream", help="write many facts in batches, measure at given points"
    )
    stream.add_argument(
        "--data", type=Path, help="JSON or JSONL in a known format (default: the classroom)"
    )
    stream.add_argument("--edits", type=int, help="how many facts (default: all)")
    stream.add_argument(
        "--batch", type=int, default=1, help="facts per call of the editor (default 1)"
    )
    stream.add_argument(
        "--eval-at", default="", help="numbers of edits after which to measure: 0,100,1000"
    )
    stream.add_argument(
        "--target", choices=("new", "true"), default="new", help="which answer is taught"
    )
    stream.add_argument("--journal", type=Path, help="folder to keep the run in, and go on from")
    stream.add_argument("--save-every", type=int, default=1, help="batches per patch kept there")
    stream.add_argument("--sample", type=int, help="measure so many old, recent and other facts")
    stream.add_argument(
        "--lazy", action="store_true", help="read a case when it is edited: for JSONL of millions"
    )
    stream.add_argument("--save", type=Path, help="keep the final patch")
    stream.add_argument("--json", type=Path, dest="out", help="write the scores here")
    _common(stream)
    stream.set_defaults(run=_stream)


def _scan_arguments(commands: Any) -> None:
    scan = commands.add_parser(
        "scan", help="try an editor over layers on a few cases, propose a preset"
    )
    scan.add_argument(
        "--data",
        type=Path,
        help="JSON or JSONL in a known format (default: even cases of the classroom)",
    )
    scan.add_argument("--cases", type=int, default=8, help="how many to try on (default 8)")
    scan.add_argument("--layers", help="where to look: 2-28 or 2,5,8 (default: everywhere)")
    scan.add_argument("--widths", help="layers of a window, for editors of several: 1,3,5")
    scan.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=V1,V2",
        help="values of a setting, the most important setting first: v_lr=0.1,0.25 (repeatable)",
    )
    scan.add_argument("--around", type=int, default=2, help="layers beside the best (default 2)")
    scan.add_argument(
        "--together",
        action=argparse.BooleanOptionalAction,
        help="all facts in one call of the editor, or each alone (default: as the editor is meant)",
    )
    scan.add_argument("--budget", type=float, help="seconds (default: as long as it takes)")
    scan.add_argument("--journal", type=Path, help="keep every trial here, and go on from it")
    scan.add_argument(
        "--target", choices=("new", "true"), default="new", help="which answer is taught"
    )
    scan.add_argument("--json", type=Path, dest="out", help="write all rows here")
    _common(scan)
    scan.set_defaults(run=_scan)


def _train_arguments(commands: Any) -> None:
    train = training_cli.arguments(commands)
    _common(train)
    train.set_defaults(run=_train)


def _export_arguments(commands: Any) -> None:
    export_cli.arguments(commands).set_defaults(run=_export)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--editor", default="rome", help="rome, ft, retrieval, … (default rome)")
    parser.add_argument("--model", help="hub id or local folder (default: the embedded model)")
    parser.add_argument("--dtype", help="float32, bfloat16, …")
    parser.add_argument("--device-map", help="as transformers names it, e.g. auto")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the editor: layer=8",
    )


def _fetch(given: argparse.Namespace) -> None:
    from . import fetch

    print(fetch.default_model(progress=True))


def _edit(given: argparse.Namespace) -> None:
    import lib

    editor_class = lib.EDITORS[given.editor]
    if given.subject is None:
        fact = lib.Fact(None, given.prompt, given.target)
    else:
        fact = lib.Fact.find(given.prompt, given.subject, given.target)
    after = lib.Patch.load(given.after) if given.after else lib.EMPTY
    lm = lib.load(given.model, given.dtype, given.device_map)
    editor = editor_class(lm, **_settings(given.set))
    prompts = [fact.text, *given.ask]
    before = lm.answer(prompts)
    patch = editor.edit([fact], after=after)
    with lm.patched(patch):
        answers = lm.answer(prompts)
    for prompt, old, new in zip(prompts, before, answers, strict=True):
        print(f"{prompt}\n  before: {_line(old)}\n  after:  {_line(new)}")
    if given.save:
        print(f"saved: {patch.save(given.save)}")


def _stream(given: argparse.Namespace) -> None:
    with parallel.started() as device_map:
        _run_stream(given, given.device_map or device_map)


def _run_stream(given: argparse.Namespace, device_map: Any) -> None:
    import lib

    editor_class = lib.EDITORS[given.editor]
    points = _numbers("--eval-at", given.eval_at) if given.eval_at else []
    if given.lazy and not given.data:
        raise ValueError("--lazy reads a file: name it with --data")
    cases = (
        lib.read_cases(given.data, limit=given.edits, target=given.target, lazy=given.lazy)
        if given.data
        else lib.classroom()[: given.edits]
    )
    if given.edits and len(cases) < given.edits:
        raise ValueError(
            f"{given.data or 'the classroom'} has {len(cases)} facts, not {given.edits}"
        )
    lm = lib.load(given.model, given.dtype, device_map)
    editor = editor_class(lm, **_settings(given.set))
    run = lib.stream(
        lm, editor, cases, given.batch, points,
        journal=given.journal, save_every=given.save_every, sample=given.sample,
    ).finish()  # fmt: skip
    if parallel.rank():  # the others hold the same; one of them says it
        return
    if given.save:
        run.patch.save(given.save)
    result = run.json()
    _keep(given.out, result)
    print(_table(result))


def _scan(given: argparse.Namespace) -> None:
    import lib

    from .scan import scan

    layers = None if given.layers is None else _numbers("--layers", given.layers)
    widths = None if given.widths is None else _numbers("--widths", given.widths)
    grid = _grid(given.grid)
    if given.cases < 1:
        raise ValueError(f"--cases should be at least 1, not {given.cases}")
    if given.data:
        cases = lib.read_cases(given.data, limit=given.cases, target=given.target)
    else:  # the odd ones are for reporting what was chosen here
        cases = [case for case in lib.classroom() if case.id % 2 == 0][: given.cases]
    lm = lib.load(given.model, given.dtype, given.device_map)
    found = scan(
        lm, given.editor, cases, layers, given.budget, grid, given.around, given.journal,
        given.together, widths=widths, settings=_settings(given.set),
        say=lambda line: print(line, flush=True),
    )  # fmt: skip
    print(found)
    print(f"\n{found.preset()}", end="")
    _keep(given.out, found.json())


def _train(given: argparse.Namespace) -> None:
    path = training_cli.train(given, _settings(given.set), lambda line: print(line, flush=True))
    print(f"saved: {path}")


def _export(given: argparse.Namespace) -> None:
    export_cli.export(given, lambda line: print(line, flush=True))


def _keep(path: Path | None, result: dict[str, Any]) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")


def _settings(pairs: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; values are JSON where they can be (layer=8, box=null), else text."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set wants NAME=VALUE, not '{pair}'")
        parsed = _value(value)
        settings[name] = tuple(parsed) if isinstance(parsed, list) else parsed
    return settings


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _grid(pairs: list[str]) -> dict[str, list[Any]]:
    """NAME=V1,V2 pairs: the values as one JSON list, or each by itself as JSON or text."""
    grid = {}
    for pair in pairs:
        name, equals, values = pair.partition("=")
        if not equals:
            raise ValueError(f"--grid wants NAME=V1,V2, not '{pair}'")
        listed = _value(f"[{values}]")
        grid[name] = listed if isinstance(listed, list) else [*map(_value, values.split(","))]
    return grid


def _numbers(option: str, text: str) -> list[int]:
    """2-4,8 -> [2, 3, 4, 8]."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            found += range(int(first), int(last or first) + 1)
        except ValueError:
            raise ValueError(f"{option} wants numbers like 2-28 or 2,5,8, not '{text}'") from None
    return found


def _line(text: str) -> str:
    return " ".join(text.split())


def _table(result: dict[str, Any]) -> str:
    """The scores as a small table: one row per metric and event, one column per point."""
    points = list(result["scores"])
    rows: dict[str, list[str]] = {}
    for p in points:
        for metric, events in result["scores"][p].items():
            if metric == "groups":  # the parts of a sample stand in the JSON only
                continue
            for event, value in events.items() if isinstance(events, dict) else [("", events)]:
                shown = "–" if value is None else f"{value:.3g}"
                rows.setdefault(f"{metric} {event}".strip(), ["–"] * len(points))[
                    points.index(p)
                ] = shown
    wide = max([len(name) for name in rows] + [5])
    title = f"{result['editor']} on {result['model']}, {result['edits']} edits"
    head = " " * wide + "".join(f"{p:>10}" for p in points)
    lines = [
        f"{name:<{wide}}" + "".join(f"{v:>10}" for v in values) for name, values in rows.items()
    ]
    return "\n".join([title, head, *lines])


if __name__ == "__main__":
    sys.exit(main())
