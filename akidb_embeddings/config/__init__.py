"""Settings, independent of any model.

``embedding``: ``EmbeddingConfig``. ``server``: ``ServerConfig``. ``file``: the YAML file that both are read from.
``rules``: the check of one field's value.
"""
