"""Data as arrays: the Dataset, and the ways to get one."""

from jaxnn.data.dataset import Dataset, check_dataset, from_arrays, split, take

__all__ = ["Dataset", "check_dataset", "from_arrays", "split", "take"]
