"""Dataset to Bundle."""
