"""The nouns and the contracts. No input/output libraries, no torch."""
