"""MLX, and the parts of a forward pass. Only ``runtime`` imports MLX, together with the fast BLAS of ``blas``.

``backend`` selects the device and its settings, ``kernels`` holds functions whose fastest form depends on the device,
``layers`` hold weights, ``weights`` loads them from a checkpoint, ``pooling`` reduces a text's hidden states to one
vector.
"""
