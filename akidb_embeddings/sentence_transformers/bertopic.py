"""A backend for BERTopic, which has to be installed: ``BERTopic(embedding_model=MLXBackend(model))``."""

from typing import Any

from bertopic.backend import BaseEmbedder

from akidb_embeddings.sentence_transformers.model import MLXSentenceTransformer


class MLXBackend(BaseEmbedder):  # type: ignore[misc]  # BERTopic has no types
    """Embeds BERTopic's documents and words; BERTopic accepts no other object than one of this class's parent.

    Args:
        embedding_model: The model, or the name of one for ``MLXSentenceTransformer``.
    """

    def __init__(self, embedding_model: MLXSentenceTransformer | str) -> None:
        model = MLXSentenceTransformer(embedding_model) if isinstance(embedding_model, str) else embedding_model
        super().__init__(model)

    def embed(self, documents: Any, verbose: bool = False) -> Any:
        """Vectors of documents or words, float32 ``[n, dimension]``."""
        return self.embedding_model.encode(documents, show_progress_bar=verbose)
