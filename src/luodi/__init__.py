"""Luodi (落地): large models that land."""

__version__ = "0.1.0"
