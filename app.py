"""Starting the page for a Gradio Space: `python app.py` serves it to the whole network."""

from demo_app.__main__ import main

raise SystemExit(main(["--host", "0.0.0.0"]))
