"""Arguments of other libraries that do not exist here: for each, what there is instead, or why there is nothing."""

from collections.abc import Iterable, Mapping

DEVICE = (
    "a GPU computes wherever MLX finds one, for the whole process; AKIDB_BACKEND=cpu in the environment computes on "
    "the CPU instead"
)
CORES = "one engine uses all cores, and all threads of a process share it"
_TOKEN = "HF_TOKEN in the environment holds the token for private repositories"
_LISTS = "vectors are lists of floats; EmbeddingService.embed gives NumPy arrays"
_NO_DOWNLOAD = "auto_download=False never downloads"

SENTENCE_TRANSFORMER: Mapping[str, str] = {
    "modules": "model_name takes a registry name, a repository or a folder",
    "device": DEVICE,
    "prompts": "the model's own prompts are used; query_prompt and document_prompt set others",
    "default_prompt_name": "query_prompt_name and document_prompt_name choose among the model's prompts",
    "similarity_fn_name": "the vector store compares vectors; of length 1, they have the same cosine and dot product",
    "trust_remote_code": "a model's own code is never run",
    "local_files_only": _NO_DOWNLOAD,
    "token": _TOKEN,
    "use_auth_token": _TOKEN,
    "model_kwargs": "weights are used as they are stored; memory and compute are arguments of their own",
    "tokenizer_kwargs": "the tokenizer is the model's; max_tokens and truncate are arguments of their own",
    "processor_kwargs": "the tokenizer is the model's; max_tokens and truncate are arguments of their own",
    "config_kwargs": "the model's config.json counts as it is",
    "model_card_data": "nothing is trained here",
    "backend": "MLX computes, whatever the model",
}
"""Of ``SentenceTransformer``, without what has a field of ``EmbeddingConfig``."""

ENCODE: Mapping[str, str] = {
    "output_value": "there is one vector per text, and no embeddings of single tokens",
    "precision": "vectors are float32; EmbeddingService.embed(texts, precision=…) gives others",
    "convert_to_numpy": _LISTS,
    "convert_to_tensor": _LISTS,
    "device": DEVICE,
    "pool": CORES,
    "chunk_size": CORES,
}
"""Of its ``encode``, without what has a field of ``EmbeddingConfig``."""

CROSS_ENCODER: Mapping[str, str] = {
    "apply_softmax": "all_labels=True returns the scores of all labels; scipy.special.softmax makes shares of them",
    "activation_fn": "give activation='sigmoid' or 'identity'",
    "convert_to_numpy": "scores are NumPy arrays",
    "convert_to_tensor": "scores are NumPy arrays, which torch.from_numpy takes",
    "return_documents": "a hit has the document's index",
    "show_progress_bar": "give progress=, such as the update method of a tqdm bar",
    "device": DEVICE,
    "pool": CORES,
    "num_workers": CORES,
    "max_length": "make the service with max_tokens=N",
    "num_labels": "the model's own labels count",
}
"""Of ``CrossEncoder``, its ``predict`` and its ``rank``."""

CROSS_ENCODER_MODEL: Mapping[str, str] = {
    **{
        name: SENTENCE_TRANSFORMER[name]
        for name in (
            *(
                "modules",
                "device",
                "trust_remote_code",
                "local_files_only",
                "token",
                "model_kwargs",
                "processor_kwargs",
            ),
            *("tokenizer_kwargs", "config_kwargs", "model_card_data", "backend"),
        )
    },
    "prompts": "the model's own prompts are used; instruction sets another, for models that take one",
    "num_labels": CROSS_ENCODER["num_labels"],
    "activation_fn": CROSS_ENCODER["activation_fn"],
    "keep_in_fp32_modules": "compute='strict' computes in float32 on GPUs, too",
}
"""Of ``CrossEncoder``'s constructor, without what has a field of ``RerankConfig``."""

RERANK_API: Mapping[str, str] = dict.fromkeys(
    ("client", "api_key", "cohere_api_key", "base_url", "user_agent", "max_retries"),
    "the model is on this machine, and nothing is sent anywhere",
)
"""Of classes that send documents to a server of another company."""

FASTEMBED: Mapping[str, str] = {
    "threads": "OPENBLAS_NUM_THREADS in the environment sets the number of threads",
    "doc_embed_type": "documents get the model's document prompt; document_prompt_name or document_prompt sets another",
    "parallel": CORES,
    "providers": DEVICE,
    "cuda": DEVICE,
    "device_ids": DEVICE,
    "lazy_load": "the first call loads the model",
    "specific_model_path": "model_name takes a folder, too",
    "local_files_only": _NO_DOWNLOAD,
}
"""Of fastembed's ``TextEmbedding`` and the classes over it."""


def entries(dictionary: str, names: Mapping[str, str]) -> dict[str, str]:
    """The names as entries of a dictionary that is an argument: ``model_kwargs['device']``."""
    return {f"{dictionary}[{name!r}]": text for name, text in names.items()}


def moves(names: Iterable[str], aliases: Mapping[str, str], unsupported: Mapping[str, str]) -> dict[str, str]:
    """What becomes of the arguments of a class that people come from.

    Returns:
        For each name, the field that it stands for in backquotes, what there is instead, or "the same".
    """
    return {name: f"`{aliases[name]}`" if name in aliases else unsupported.get(name, "the same") for name in names}
