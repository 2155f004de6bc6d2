"""MLX, and the parts of a forward pass. Only ``runtime`` imports MLX, together with the fast BLAS of ``blas``.

``devices`` selects the ``backend``, a device's settings; ``sizing`` fits a model to a GPU's memory, ``cores`` counts
the processor's and ``core_sharing`` divides them, by ``thread_choice`` where other programs are busy; ``probe`` tests a
device's products. ``kernels`` are the functions whose fastest form depends on the
device: ``fused`` for GPUs, ``polynomial`` for CPUs. ``masks`` says which keys a query sees. ``layers`` hold weights,
``weights`` loads them from a checkpoint, ``low_rank`` adds an adapter's changes to them, ``footprint`` says what they
take, ``heap`` keeps them apart from what comes and goes, and ``buffer_cache`` limits how much of that MLX keeps.
``pooling`` reduces a text's hidden states to one vector.
"""
