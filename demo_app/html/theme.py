"""Colors and type of the page: system fonts, quiet grays, and one accent, that of the figures.

These are plain values; app.py makes Gradio's theme of them. No font is fetched from anywhere.
"""

from __future__ import annotations

from pathlib import Path

CSS = "".join(
    Path(__file__).with_name(f"{name}.css").read_text(encoding="utf-8")
    for name in ("style", "try", "tabs", "phone")
)
SCRIPT = Path(__file__).with_name("try.js").read_text(encoding="utf-8")
ENDS = Path(__file__).with_name("ends.js").read_text(encoding="utf-8")
SHADES = (  # of the course's EDITED; the seventh carries white text with a contrast of 5.6
    "#fff5ef",
    "#ffe6d8",
    "#ffcaae",
    "#ffa678",
    "#f77f3f",
    "#d9560b",
    "#b34404",
    "#8f3604",
    "#732d08",
    "#5c2509",
    "#331202",
)
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]
LOOK = {  # variables of Gradio's base theme
    "body_background_fill": "#f7f8fa",
    "body_background_fill_dark": "#12161c",
    "body_text_color": "#1f2933",
    "body_text_color_dark": "#e6eaf0",
    "body_text_color_subdued": "#52606d",
    "body_text_color_subdued_dark": "#a3b0bf",
    "background_fill_primary": "#ffffff",
    "background_fill_primary_dark": "#1a2029",
    "background_fill_secondary": "#f7f8fa",
    "background_fill_secondary_dark": "#12161c",
    "block_background_fill": "#ffffff",
    "block_background_fill_dark": "#1a2029",
    "block_border_width": "0px",
    "block_shadow": "none",
    "block_label_text_color": "#52606d",
    "block_title_text_weight": "500",
    "border_color_primary": "#dfe3e8",
    "border_color_primary_dark": "#333d4a",
    "input_background_fill": "#ffffff",
    "input_background_fill_dark": "#12161c",
    "input_border_width": "1px",
    "input_border_color": "#c5ccd5",
    "input_border_color_dark": "#465264",
    "input_placeholder_color": "#697586",
    "input_placeholder_color_dark": "#8a97a8",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover_dark": "*primary_700",
    "button_primary_text_color": "#ffffff",
    "button_secondary_background_fill": "#ffffff",
    "button_secondary_background_fill_dark": "#1a2029",
    "button_secondary_border_color": "#c5ccd5",
    "button_secondary_border_color_dark": "#465264",
    "button_border_width": "1px",
}
