"""Vectors in NumPy: ``finish`` truncates and normalizes them, ``precision`` quantizes and compares them.

``arrays`` checks arrays that callers pass. ``ragged`` has rows that differ in size: ``sparse`` compares weights of
tokens, ``late_interaction`` texts that have a vector of each token.
"""

PRECISIONS = ("float32", "float16", "int8", "uint8", "binary", "ubinary")
"""The forms that vectors come in."""

WITHOUT_RANGES = tuple(name for name in PRECISIONS if name != "uint8")
"""Those that need no ranges from other vectors, so that a vector never depends on its neighbours."""
