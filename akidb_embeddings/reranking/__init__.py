"""``RerankService``, which scores pairs of query and document: module ``service``.

``calls`` and ``async_calls`` are its methods, ``result`` what they return, ``inputs`` checks what they are given.
``resources`` holds the model, ``job`` takes one call's pairs through tokenizer and engine, ``passages`` divides long
documents, ``shared`` keeps one service per configuration and process, ``adapter`` has
what adapters to other frameworks share.
"""
