"""Sources to Dataset: typed, clean, without leaks, with every dropped row and its reason."""
