"""MLX, and what a forward pass is made of. Only ``runtime`` imports it, after ``blas`` has put a fast BLAS in place.

``backend`` says what this machine computes with, ``kernels`` are functions whose best form depends on that, ``layers``
hold weights, ``weights`` takes them from a checkpoint, ``pooling`` makes one vector of a text's hidden states.
"""
