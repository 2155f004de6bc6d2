"""The names of arguments in other LlamaIndex rerankers, mapped to the fields of ``RerankConfig``."""

from collections.abc import Mapping

from akidb_embeddings.service.elsewhere import CROSS_ENCODER_MODEL, RERANK_API, moves

ALIASES = {
    "model": "model_name",
    "max_length": "max_tokens",
    "cache_folder": "cache_dir",
}
UNSUPPORTED = {
    **CROSS_ENCODER_MODEL,
    **RERANK_API,
    "cross_encoder_kwargs": "max_tokens, revision, prompt_name and activation are arguments of their own",
    "use_fp16": CROSS_ENCODER_MODEL["model_kwargs"],
}


MOVING: Mapping[str, Mapping[str, str]] = {
    "SentenceTransformerRerank": moves(
        (
            *("model", "top_n", "keep_retrieval_score", "cache_folder", "device", "trust_remote_code"),
            "cross_encoder_kwargs",
        ),
        ALIASES,
        UNSUPPORTED,
    ),
    "FlagEmbeddingReranker": moves(("model", "top_n", "use_fp16"), ALIASES, UNSUPPORTED),
    "CohereRerank": moves(("model", "top_n", "api_key", "base_url", "max_retries"), ALIASES, UNSUPPORTED),
}
"""What becomes of each argument of the classes that people come from: "the same", the name here, or what there is
instead. The documentation has it as a table."""
