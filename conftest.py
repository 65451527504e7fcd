"""The collection of doctests imports every file, and some run only with a library that is installed if one wants it."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("equinox") else ["jaxnn/interop/equinox.py"]
