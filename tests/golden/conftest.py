"""The collection of doctests imports every file, and the generators need PyTorch."""

collect_ignore_glob = ["make_*_golden.py"]
