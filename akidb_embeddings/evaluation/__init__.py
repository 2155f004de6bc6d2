"""Evaluating models on test data.

``tasks`` and ``pairs`` read the data, ``search`` ranks documents exactly, ``metrics`` computes the scores,
``reranking`` those after a reranker, and ``mteb_encoder`` is an encoder for MTEB.
"""
