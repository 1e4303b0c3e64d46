"""The steps of the life, one folder each, written against the contracts in `core/` alone."""
