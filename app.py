"""The page as a Gradio Space expects to find it: `python app.py` serves the whole network."""

from demo_app.__main__ import main

raise SystemExit(main(["--host", "0.0.0.0"]))
