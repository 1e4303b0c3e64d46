"""Kinds of data, one file each: inputs are full modalities, answers are codecs."""
