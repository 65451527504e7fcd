"""What `python -m jaxnn` does with a finished run: predict, and the page of the demo. No code of a model is loaded."""
