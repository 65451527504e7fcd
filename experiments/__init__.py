"""Scripts to run and to read: each is one experiment, from its configuration to its report."""
