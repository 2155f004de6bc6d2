"""``EmbeddingService``, which users, adapters, the command line and the server call: module ``service``.

``shared`` keeps one service per configuration and process, ``inputs`` checks arguments, ``prompter`` chooses the
prompt, ``job`` takes one call's texts through tokenizer and engine, ``adapter`` has what framework adapters share.
"""
