"""One self-contained page for people: what was found, whether it may be used, and why."""
