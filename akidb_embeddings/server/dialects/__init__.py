"""The routes of each HTTP API: this library's own, and those of others, whose clients need not change.

``rest``, ``openai``, ``ollama``, ``tei`` and ``tei_embed`` (Text Embeddings Inference, whose ``/embed`` is ours, too),
``cohere`` and ``cohere_embed``; the bodies that only one of them has are in ``…_schemas``, those of rerankers in
``rerank_schemas``. ``tei_info`` has the answer of ``/info``, ``inputs`` what several of them take.
"""
