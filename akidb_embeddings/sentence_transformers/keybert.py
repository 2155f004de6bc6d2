"""A backend for KeyBERT, which has to be installed: ``KeyBERT(model=MLXBackend(model))``."""

from typing import Any

from keybert.backend import BaseEmbedder

from akidb_embeddings.sentence_transformers.model import MLXSentenceTransformer


class MLXBackend(BaseEmbedder):  # type: ignore[misc]  # KeyBERT has no types
    """Embeds KeyBERT's documents and words; KeyBERT accepts no other object than one of this class's parent.

    Args:
        embedding_model: The model, or the name of one for ``MLXSentenceTransformer``.
        **encode_options: Arguments of its ``encode``, such as ``prompt_name``.
    """

    def __init__(self, embedding_model: MLXSentenceTransformer | str, **encode_options: Any) -> None:
        model = MLXSentenceTransformer(embedding_model) if isinstance(embedding_model, str) else embedding_model
        super().__init__(model)
        self.encode_options = encode_options

    def embed(self, documents: Any, verbose: bool = False) -> Any:
        """Vectors of documents or words, float32 ``[n, dimension]``."""
        return self.embedding_model.encode(documents, **{"show_progress_bar": verbose, **self.encode_options})
