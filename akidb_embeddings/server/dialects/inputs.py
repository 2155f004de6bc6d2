"""The texts of APIs that take one text or several, and whose clients may send token ids instead."""

from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind
from akidb_embeddings.server.http.schemas import Input


def texts_of(given: Input, field: str) -> list[str]:
    """The texts of an input.

    Raises:
        ApiError: It contains token ids, which langchain-openai sends by default, or is empty.
    """
    if isinstance(given, str):
        return [given]
    texts = [item for item in given if isinstance(item, str)]
    if len(texts) < len(given):
        raise ApiError(
            ErrorKind.MALFORMED,
            f"{field} contains token ids. They belong to OpenAI's vocabulary, or another one, not this model's, and "
            "would give wrong vectors: send texts. In langchain-openai, set check_embedding_ctx_length=False.",
            field=field,
        )
    if not texts:
        raise ApiError(ErrorKind.INVALID, field=field, reason="is empty; send at least one text.")
    return texts
