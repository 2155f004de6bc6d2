"""What users, adapters, the command line and the server call: ``service.EmbeddingService``.

``shared`` keeps one service per configuration and process, ``inputs`` checks what callers give, ``prompter`` chooses
the prompt, ``job`` takes one call's texts through tokenizer and engine, ``adapter`` is what framework adapters share.
"""
