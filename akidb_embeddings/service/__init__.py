"""What users, adapters, the command line and the server call: ``service.EmbeddingService``.

``loaded_model`` is what it is built on, ``resources`` what it holds; ``options`` and ``result`` are what its methods
take and return. ``shared`` keeps one service per configuration and process, ``inputs`` checks what callers give,
``prompter`` chooses the prompt, ``job`` takes one call's texts through tokenizer and engine, ``adapter`` is what
framework adapters share.
"""

WINDOW_TEXTS = 512
"""Texts that a long list is handed to the engine by: enough to sort by length. 2,048 would save 0.3 % of padding, and
make a footprint that grows until such a window is full."""

WINDOW_CHARACTERS = 1 << 20
"""Characters in such a window, at most; a longer text is a window of its own."""
