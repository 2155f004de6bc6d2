"""Vectors in NumPy: ``finish`` truncates and normalizes them, ``precision`` quantizes and compares them.

``arrays`` checks arrays that callers pass.
"""
