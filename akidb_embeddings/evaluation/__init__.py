"""How good a model is on test data.

``tasks`` and ``pairs`` read the data, ``search`` ranks exactly, ``metrics`` scores, ``mteb_encoder`` is for MTEB.
"""
