"""Why a model answers as it does, and whether the reasons can be believed."""
