"""The collection of doctests imports every file, and the generator needs PyTorch."""

collect_ignore = ["make_torch_golden.py"]
