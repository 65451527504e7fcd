"""Weights and models in and out: to and from other frameworks, and as programs that run without this library.

`import jaxnn` does not load this room; import what you need from it.
"""
