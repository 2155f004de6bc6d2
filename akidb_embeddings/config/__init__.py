"""Settings, which know nothing of models.

``embedding``: ``EmbeddingConfig``. ``server``: ``ServerConfig``. ``file``: the YAML file that both are read from.
``rules``: what one field may hold.
"""
