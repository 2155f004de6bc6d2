"""The MLX thread and the model that runs on it.

``engine`` runs on one of the ``threads``, ``scheduler`` decides which texts of which ``request`` run next, ``planner``
makes micro-batches, ``pipeline`` starts them ahead, and ``model`` computes them by a ``forward_pass``, whose
``readout`` makes vectors or scores of the hidden states; ``idle`` is what a GPU does without texts. ``statistics``
counts, ``table`` shares one engine between equal configurations.
"""
