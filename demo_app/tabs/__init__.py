"""The tabs of the page in Gradio, one file per tab, and the wiring that they share."""
