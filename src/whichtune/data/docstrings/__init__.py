"""A summarization set out of the docstrings of the packages installed here: body in, summary line out."""
