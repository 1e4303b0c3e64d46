"""A package that is not Luodi's, with tasks of its own: shows that the contracts fit what lies outside."""
