"""The MLX thread and the model that runs on it.

``engine`` is the thread, ``scheduler`` decides which texts run next, ``planner`` makes micro-batches, ``model``
computes them, ``readout`` makes vectors or scores of the hidden states, ``statistics`` counts, ``table`` shares one
engine between equal configurations.
"""
