"""Diagnosing this machine (``doctor``, ``measure``) and a model (``verify``, ``checks``, ``quality``).

``quality`` compares a converted model with its original; ``sample_texts`` are texts for the checks and comparisons.
"""
