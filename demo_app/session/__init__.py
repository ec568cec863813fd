"""The visitors' actions, as plain values and jobs, independent of Gradio."""
