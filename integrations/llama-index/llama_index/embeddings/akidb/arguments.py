"""The names of arguments in other LlamaIndex classes, mapped to the fields of ``EmbeddingConfig``."""

from collections.abc import Mapping

from akidb_embeddings.service.elsewhere import CORES, FASTEMBED, SENTENCE_TRANSFORMER, moves

ALIASES = {
    "max_length": "max_tokens",
    "query_instruction": "query_prompt",
    "text_instruction": "document_prompt",
    "cache_folder": "cache_dir",
    "truncate_dim": "dimensions",
}
UNSUPPORTED = {
    **FASTEMBED,
    **SENTENCE_TRANSFORMER,
    "model": "model_name takes a registry name, a repository or a folder",
    "tokenizer": "the tokenizer is the model's",
    "tokenizer_name": "the tokenizer is the model's",
    "parallel_process": CORES,
    "target_devices": CORES,
    "encode_kwargs": "normalize, batch_size and dimensions are arguments of their own",
    "show_progress_bar": "get_text_embedding_batch(texts, show_progress=True) shows one",
}


MOVING: Mapping[str, Mapping[str, str]] = {
    "HuggingFaceEmbedding": moves(
        (
            *("model_name", "max_length", "query_instruction", "text_instruction", "normalize", "embed_batch_size"),
            *("cache_folder", "callback_manager", "num_workers", "pooling", "model", "tokenizer", "tokenizer_name"),
            *("parallel_process", "target_devices", "show_progress_bar", "revision", "truncate_dim"),
            *SENTENCE_TRANSFORMER,
        ),
        ALIASES,
        UNSUPPORTED,
    ),
    "FastEmbedEmbedding": moves(
        ("model_name", "max_length", "cache_dir", "embed_batch_size", *FASTEMBED), ALIASES, UNSUPPORTED
    ),
}
"""What becomes of each argument of the classes that people come from: "the same", the name here, or what there is
instead. The documentation has it as a table."""
