"""`python -m demo_app`: loads the model, asks it about the ready example, and opens the page."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from functools import partial
from io import StringIO
from typing import Any

TRIES = 100  # ports
VISITORS = 200  # of whom Gradio keeps what it needs itself


def quiet() -> None:
    """No analytics, and no proxy for the server's call to itself. Before importing gradio."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in ("NO_PROXY", "no_proxy"):
        known = [part for part in os.environ.get(name, "").split(",") if part]
        os.environ[name] = ",".join(dict.fromkeys([*known, "localhost", "127.0.0.1"]))


def open_page(
    lm: Any,
    port: int,
    host: str = "127.0.0.1",
    names: Sequence[str] = (),
    **settings: Any,
) -> tuple[Any, Any]:
    """Serve the page for a model; (the Blocks, the studio). Does not wait for visitors to leave.

    The page is on `demo.server_port`: the wanted port, or the next one that nobody uses.

    names: under which the page may be called, beside those of this machine; "*" is every name. A
        page with a public link, and a Space, is called by names that nobody knows before.
    """
    quiet()
    from .session.studio import Studio
    from .session.visitors import Session
    from .stored import examples

    studio = Studio(lm)
    # gradio takes seconds to import; the model answers meanwhile where nothing is stored for it
    stored, subject = examples.of(lm), studio.choices.ready_subject()
    ready = None if stored is None else stored.view(subject)
    looked = studio.look(Session(), subject) if ready is None else None
    from .app import appearance, build, routes
    from .guard import ANY, HANDLERS, hosts_of, lifespan
    from .html.head import Head
    from .session.links import sentence

    if settings.get("share") or os.environ.get("SYSTEM") == "spaces":
        names = [*names, ANY]
    hosts = hosts_of(host, [*names, *filter(None, [os.environ.get("SPACE_HOST")])])
    demo = build(studio, stored, ready or looked.outcome())
    more = {
        "lifespan": lifespan(hosts, partial(Head, facts=partial(sentence, studio.choices))),
        "exception_handlers": HANDLERS,
        "routes": routes(studio, stored),
    }
    _launch(demo, port, host, app_kwargs=more, **appearance(), **settings)
    if settings.get("share"):
        print(
            f"Public for a week: {demo.share_url}"
            if demo.share_url
            else "No public link could be made (no way to gradio's servers): it is open here only."
        )
    studio.warm_up()
    return demo, studio


def _launch(demo: Any, port: int, host: str, **settings: Any) -> None:
    """Start the web server on the port, or on the next one that gradio finds free."""
    for one in range(port, min(port + TRIES, 65536)):
        # the output: gradio's paragraphs about a public link
        with suppress(OSError), redirect_stdout(StringIO()):
            demo.launch(
                server_name=host,
                server_port=one,
                prevent_thread_lock=True,
                quiet=True,
                state_session_capacity=VISITORS,
                **settings,
            )
            return
    raise SystemExit(f"No port of {host} is free from {port} on: name another one with --port.")


def main(arguments: list[str] | None = None) -> int:
    """Parse, load, serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m demo_app", description=__doc__)
    usual = int(os.environ.get("GRADIO_SERVER_PORT", "7860"))  # hosts of gradio's pages set it
    parser.add_argument("--port", type=int, default=usual, help=f"first to try (default {usual})")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 serves the whole network")
    parser.add_argument(
        "--share", action="store_true", help="also a public link, which gradio gives"
    )
    parser.add_argument(
        "--model",
        help="a hub id, a local folder, or gemma-3-270m (Gemma Terms of Use, "
        "ai.google.dev/gemma/terms); default: the embedded model",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="a name under which the page may be called, beside those of this machine; * is every",
    )  # fmt: skip
    asked = parser.parse_args(arguments)
    quiet()
    from lib.workbench.console import printable

    gc.disable()  # a start makes millions of objects that all stay, and was searching them
    with printable():
        return _served(asked)


def _served(asked: argparse.Namespace) -> int:
    """Open the page that the command asks for, and serve it until interrupted; the exit code."""
    import lib

    from .session import memory_ceiling

    print("Loading the model …", file=sys.stderr, flush=True)
    try:
        lm = lib.load(asked.model)
    except lib.errors.EXPECTED as error:
        print(lib.errors.sentence(error), file=sys.stderr)
        return 2
    memory_ceiling.forbid()
    demo, studio = open_page(lm, asked.port, asked.host, asked.allow_host, share=asked.share)
    port = demo.server_port
    if port != asked.port:
        print(f"Port {asked.port} is taken, so the page is on {port}.")
    try:
        shown = "127.0.0.1" if asked.host == "0.0.0.0" else asked.host
        print(f"Open http://{shown}:{port}", flush=True)
        gc.enable()
        demo.block_thread()
    finally:
        studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
