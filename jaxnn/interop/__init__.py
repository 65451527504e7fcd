"""Weights and models in and out. `import jaxnn` does not load this room; import what you need from it."""
