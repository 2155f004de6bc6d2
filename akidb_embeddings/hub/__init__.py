"""Model files: ``resolve`` finds them on this machine, ``download`` downloads them, ``cache`` manages the cache.

``listing`` says which files of a repository make a model, ``snapshots`` whether one in the Hugging Face cache has them.
``either`` does both for models of either kind, ``adapters`` for adapters to models. ``names`` knows the registry's
names and those near to a misspelt one; ``missing`` has the errors for missing models.
"""
