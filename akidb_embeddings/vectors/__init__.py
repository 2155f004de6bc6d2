"""Finished vectors, in NumPy alone: ``finish`` cuts and normalizes them, ``precision`` converts and compares them."""

PRECISIONS = ("float32", "float16", "int8", "uint8", "binary", "ubinary")
"""The forms that vectors come in."""

WITHOUT_RANGES = tuple(name for name in PRECISIONS if name != "uint8")
"""Those that need no ranges from other vectors, so that a vector never depends on its neighbours."""
