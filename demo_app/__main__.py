"""`python -m demo_app`: load the model, run it on the opening example, and serve the page."""

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
VISITORS = 200  # visitors whose session data Gradio keeps


def quiet() -> None:
    """Turn off analytics, and exempt the server's calls to itself from any proxy. Call before
    importing gradio.
    """
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
    """Serve the page for a model and return (the Blocks, the studio), without waiting for visitors
    to leave.

    The page is served on `demo.server_port`: the requested port or, if it is taken, the next free
    port.

    names: more host names under which the page can be reached; "*" allows every name. A Space, or a
        page with a public link, is reached under names that cannot be predicted.
    """
    quiet()
    from .session.studio import Studio
    from .session.visitors import Session
    from .stored import examples

    studio = Studio(lm)
    # importing gradio takes seconds; until then the model runs the example if nothing is stored for
    # it
    stored, choices = examples.of(lm), studio.choices
    if stored is not None:  # if any example is stored, open with the first of them
        known = (one for one in choices.examples if stored.view(choices.ready_subject(one)))
        choices.ready = next(known, choices.ready)
    subject = choices.ready_subject()
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
            else "No public link: gradio's servers cannot be reached. The page is only local."
        )
    studio.warm_up()
    return demo, studio


def _launch(demo: Any, port: int, host: str, **settings: Any) -> None:
    """Start the web server on the port, or on the next free port."""
    for one in range(port, min(port + TRIES, 65536)):
        # hides gradio's paragraphs about a public link
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
    raise SystemExit(f"No port from {port} up is free on {host}. Choose another with --port.")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, load the model, and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m demo_app", description=__doc__)
    # set by services that host Gradio apps
    usual = int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    parser.add_argument(
        "--port", type=int, default=usual, help=f"first port to try (default {usual})"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is the whole network"
    )
    parser.add_argument(
        "--share", action="store_true", help="also create a public link through gradio"
    )
    parser.add_argument(
        "--model",
        help="a hub id, a local folder, or gemma-3-270m (Gemma Terms of Use, "
        "ai.google.dev/gemma/terms); default: the embedded model",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="another host name under which the page can be reached; * allows every name",
    )  # fmt: skip
    asked = parser.parse_args(arguments)
    quiet()
    from lib.workbench.console import printable

    # starting up creates millions of objects that stay alive; scanning them takes time
    gc.disable()
    with printable():
        return _served(asked)


def _served(asked: argparse.Namespace) -> int:
    """Open the page for these options, serve it until interrupted, and return the exit code."""
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
