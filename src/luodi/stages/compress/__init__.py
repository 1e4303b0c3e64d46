"""Bundle to Bundle: smaller, faster, and still the same answers."""
