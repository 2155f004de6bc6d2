"""Settings, independent of any model.

``embedding``: ``EmbeddingConfig``. ``rerank``: ``RerankConfig``. ``model``: what both share. ``server``:
``ServerConfig``. ``file``: the YAML file that both are read from. ``rules``: the check of one field's value;
``sizes``: those of memory.
"""
