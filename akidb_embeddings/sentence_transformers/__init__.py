"""The interface of sentence-transformers' ``SentenceTransformer``, for code that was written for it.

- ``model``: ``MLXSentenceTransformer``, the class, over ``base``: the loaded model with its properties
- ``arguments``: which arguments are accepted, and what is said of the others
- ``outputs``: precisions, arrays and tensors
- ``scores``: the four similarities, and what their arguments may be
- ``bertopic``, ``keybert``: embedding backends of these two packages, which are imported with the module

It needs no PyTorch. The folder's name is in the name of the class: by it, BERTopic and KeyBERT take a model for one of
sentence-transformers and refuse it where it cannot be used. They would silently embed with a model of their own
instead of an object that they do not know.
"""

from akidb_embeddings.sentence_transformers.model import MLXSentenceTransformer

__all__ = ["MLXSentenceTransformer"]
