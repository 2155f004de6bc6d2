"""Finished vectors, in NumPy alone: ``finish`` cuts and normalizes them, ``precision`` converts and compares them."""
