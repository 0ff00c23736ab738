"""A page on which pictures and clips are dropped, through Gradio."""
