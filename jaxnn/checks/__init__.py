"""Every check of an argument, and so every error message: what was expected, what came, and the likely fix.

Shapes and types are known while a function is traced, so these errors come before anything runs. Values are checked
only where they are concrete: under `jit` a number may be a tracer, and a tracer passes (whoever made it checks it).
"""

from jaxnn.checks.arrays import (
    array,
    float_input,
    given_key,
    has_batch,
    last_axis,
    one_entry_per_part,
    own_entries,
    random_key,
    same_shape,
    several_values,
)
from jaxnn.checks.functions import as_layer, callables, metric_names, name_of
from jaxnn.checks.numbers import finite_positive, in_range, is_concrete, non_negative_int, number, one_of, positive_int
from jaxnn.checks.targets import class_labels, label_range, one_value_per_example

__all__ = [
    "array",
    "as_layer",
    "callables",
    "class_labels",
    "finite_positive",
    "float_input",
    "given_key",
    "has_batch",
    "in_range",
    "is_concrete",
    "label_range",
    "last_axis",
    "metric_names",
    "name_of",
    "non_negative_int",
    "number",
    "one_entry_per_part",
    "one_of",
    "one_value_per_example",
    "own_entries",
    "positive_int",
    "random_key",
    "same_shape",
    "several_values",
]
