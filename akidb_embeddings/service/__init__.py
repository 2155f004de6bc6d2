"""``EmbeddingService``, which users, adapters, the command line and the server call: module ``service``.

``loaded_model`` is its base class, ``open_model`` that of both kinds of services, ``closing`` what closes;
``resources`` holds the model, which ``reading`` finds; ``calls`` and ``async_calls`` are the methods that embed,
``arguments`` refuses misspelt ones of their arguments, ``options`` and ``result`` are what they take and return.
``shared`` keeps one service per configuration and process, by ``sharing``; ``inputs`` checks texts and vectors,
``prompter`` chooses the prompt. ``job`` takes one call's texts through tokenizer and engine, ``forecast`` checks that
there is time for them, ``texts_job`` gives them a prompt, ``vectors_job`` makes vectors of them, ``sparse_job`` sparse
weights, ``tokens_job`` token vectors. ``adapter`` and ``elsewhere`` have what framework adapters share, ``stored`` the
settings that a vector store keeps.
"""

WINDOW_TEXTS = 512
"""Texts per window of a long list: enough to sort by length. 2,048 would save 0.3 % of padding, but the footprint would
grow until such a window is full."""

WINDOW_CHARACTERS = 1 << 20
"""Characters in such a window, at most; a longer text is a window of its own."""
