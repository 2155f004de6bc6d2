"""The MLX thread and what runs on it.

``engine`` is the thread, ``scheduler`` decides what runs next, ``planner`` makes micro-batches, ``model`` computes
them, ``statistics`` counts, ``table`` shares one engine between equal configurations.
"""
