"""Diagnosing this machine (``doctor``, ``measure``) and a model (``verify``, ``quality``).

``doctor`` makes ``findings`` about the machine, and with ``configured`` about what is configured. ``verify`` runs
``vector_checks``, ``output_checks`` (of sparse weights and token vectors) or ``score_checks``, which share ``checks``,
and ``adapter_checks``, and makes a ``comparison`` with published numbers.
``quality`` and ``score_quality`` compare a converted model with its original, ``stored_weights`` the weights with what
MLX reads of them; ``sample_texts`` are texts for the checks and comparisons.
"""
