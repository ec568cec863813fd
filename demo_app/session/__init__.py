"""What visitors may do, as plain values and jobs, which know nothing of Gradio."""
