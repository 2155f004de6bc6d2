"""Diagnosing this machine (``doctor``, ``findings``, ``measure``) and a model (``verify``, ``checks``, ``quality``).

``quality`` compares a converted model with its original, ``stored_weights`` the weights with what MLX reads of them;
``sample_texts`` are texts for the checks and comparisons.
"""
