"""``RerankService``, which scores pairs of query and document: module ``service``.

``loaded`` is its base class, ``resources`` holds the model; ``calls`` and ``async_calls`` are the methods that score,
``result`` is what they return, ``inputs`` checks what they are given. ``job`` takes one call's pairs through tokenizer
and engine, ``activation`` makes scores of logits. ``shared`` keeps one service per configuration and process, and
``adapter`` has what framework adapters share.
"""
