"""What visitors may do, as plain values and jobs; nothing here knows Gradio or HTML."""
