"""Measurements: jaxnn beside the programs a user would otherwise write."""
