"""The folder of a model that makes scores of pairs, as sentence-transformers' ``CrossEncoder`` reads it.

It is a classifier of transformers (``…ForSequenceClassification``), or a causal language model whose score is how much
rather it answers "yes" than "no".
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.adapter_config import refuse_adapter
from akidb_embeddings.checkpoint.arguments import mapping
from akidb_embeddings.checkpoint.base import (
    BaseCheckpoint,
    check_sizes,
    read_architecture,
    read_limit,
    read_prompts,
    read_quantization,
    read_tensors,
)
from akidb_embeddings.checkpoint.classes import CLASSIFIER, LANGUAGE_MODEL, class_name
from akidb_embeddings.checkpoint.fields import TEXT, TEXTS, Kind, check_fields, whole_from
from akidb_embeddings.checkpoint.folder import ModelFolder, read_folder
from akidb_embeddings.checkpoint.frame import DEFAULT_INSTRUCTION, has_frame
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.modules import LOGIT_SCORE, RERANKER
from akidb_embeddings.checkpoint.safetensors import Tensors
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import RerankerSpec
from akidb_embeddings.registry.architectures import Architecture, Config
from akidb_embeddings.registry.heads import ANSWER, HeadSpec

_ANSWERS = ("yes", "no")
# torch's names, of which the last part counts.
_ACTIVATIONS = {"Identity": "identity", "Sigmoid": "sigmoid"}
_LOGIT_SCORE: Mapping[str, Kind] = {
    **dict.fromkeys(("true_token_id", "false_token_id"), whole_from(0)),
    "module_input_name": TEXT,
}
_CONFIG: Mapping[str, Kind] = {
    "id2label": TEXTS,
    "num_labels": whole_from(1),
    "pad_token_id": whole_from(0),
    "sbert_ce_default_activation_function": TEXT,
}


@dataclass(frozen=True)
class RerankerCheckpoint(BaseCheckpoint):
    """The folder of a model that makes scores of pairs.

    Attributes:
        head: The head.
        labels: The names of the scores that a pair gets, one or more.
        activation: The trained activation of the scores: "sigmoid" or "identity".
        answers: The tokens of a language model for relevant and not relevant; None for classifiers.
        framed: Whether pairs are put into the frame of a question to a language model.
    """

    head: HeadSpec
    labels: tuple[str, ...]
    activation: str
    answers: tuple[int, int] | None
    framed: bool

    @property
    def after_encoder(self) -> Hashable:
        """See ``BaseCheckpoint``."""
        return len(self.labels), self.answers

    @property
    def head_layers(self) -> tuple[str, ...]:
        """See ``BaseCheckpoint``."""
        if self.answers is not None and self.config.get("tie_word_embeddings") is True:
            return ()  # the table of token embeddings
        return tuple(filter(None, (self.head.dense, self.head.norm, self.head.output)))


def read_reranker(path: Path, spec: RerankerSpec | None = None) -> RerankerCheckpoint:
    """Read the folder of a reranker.

    Args:
        path: The folder.
        spec: The model's entry in the registry, if it has one.

    Raises:
        CheckpointError: A file is missing or damaged, a setting is not supported, or it is no reranker.
    """
    refuse_adapter(path, is_reranker=True)
    _check_kind(path, read_json(path / "config.json", required=True))
    folder = read_folder(path, RERANKER)
    architecture = read_architecture(path, folder.config)
    config = architecture.canonical(folder.config)
    check_fields(path / "config.json", config, _CONFIG)
    tensors = read_tensors(folder, config, architecture)
    check_sizes(path, config)
    is_classifier = class_name(config).endswith(CLASSIFIER)
    head = _head(path, architecture, is_classifier)
    labels = _labels(path, config, tensors, head) if is_classifier else ("relevant",)
    framed = has_frame(folder, is_language_model=not is_classifier)
    prompts, default_prompt = read_prompts(folder.description, {})
    if framed and not default_prompt:
        default_prompt = (spec and spec.instruction) or DEFAULT_INSTRUCTION
    return RerankerCheckpoint(
        folder=folder,
        config=config,
        architecture=architecture,
        max_tokens=read_limit(folder, config, spec, architecture),
        final_token=None,
        prompts=prompts,
        default_prompt=default_prompt,
        quantization=read_quantization(config, architecture.prefix),
        tensors=tensors,
        head=head,
        labels=labels,
        activation=_activation(folder, spec, len(labels)),
        answers=None if is_classifier else _answers(folder, int(config["vocab_size"])),
        framed=framed,
    )


def _check_kind(path: Path, config: Config) -> None:
    """Refuse what is no reranker, or one whose own code would be needed."""
    name = class_name(config)
    if not name.endswith((CLASSIFIER, LANGUAGE_MODEL)):
        raise CheckpointError(
            f"{path} is no reranker: config.json names the class {name or None!r}, without a head for scores "
            f"(…{CLASSIFIER}) or a language model's (…{LANGUAGE_MODEL}). Use EmbeddingService for embedding models."
        )
    for key, code in mapping(config, "auto_map").items():
        if str(key).startswith("AutoModel"):
            raise CheckpointError(
                f"{path / 'config.json'} names remote code (auto_map: {code}), which is not executed."
            )


def _head(path: Path, architecture: Architecture, is_classifier: bool) -> HeadSpec:
    if architecture.head is None or not (is_classifier or architecture.answers):
        kind = "classifiers" if is_classifier else "language models that answer yes or no"
        raise CheckpointError(
            f"{path} is a reranker of an architecture ({architecture.module}) whose {kind} are not implemented."
        )
    return architecture.head if is_classifier else ANSWER


def _labels(path: Path, config: Config, tensors: Tensors, head: HeadSpec) -> tuple[str, ...]:
    """The labels' names: config.json's, which transformers counts, and as many as the last layer has rows."""
    location = tensors.get(f"{head.output}.weight")
    if location is None or not location.shape:
        raise CheckpointError(
            f"{path} has no tensor {head.output}.weight, the last layer of a classifier: it has not been trained as a "
            "reranker, or its head is missing."
        )
    rows = location.shape[0]
    names = config.get("id2label") or {}
    count = len(names) or config.get("num_labels") or rows
    if count != rows:
        raise CheckpointError(
            f"{path / 'config.json'} names {count} labels (id2label, num_labels); {head.output}.weight has {rows}."
        )
    return tuple(str(names.get(str(index), f"LABEL_{index}")) for index in range(rows))


def _activation(folder: ModelFolder, spec: RerankerSpec | None, labels: int) -> str:
    """The trained activation, from the files in the order of ``CrossEncoder``, else its default."""
    own = mapping(folder.config, "sentence_transformers")
    named = folder.description.get("activation_fn") if folder.description.get("model_type") == "CrossEncoder" else None
    if named is None:
        older = folder.config.get("sbert_ce_default_activation_function")
        named = own.get("activation_fn", older)
    if not named:
        return (spec and spec.activation) or ("sigmoid" if labels == 1 else "identity")
    kind = str(named).rpartition(".")[2]
    if not str(named).startswith("torch.") or kind not in _ACTIVATIONS:
        raise CheckpointError(
            f"{folder.path} gives the scores the activation {named!r:.80}; supported: torch's "
            f"{' and '.join(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[kind]


def _answers(folder: ModelFolder, vocab_size: int) -> tuple[int, int]:
    """The tokens of a language model for relevant and not relevant: LogitScore's, else "yes" and "no"."""
    files = [step.folder / "config.json" for step in folder.steps if step.kind == LOGIT_SCORE]
    config: Mapping[str, Any] = read_json(files[0]) if files else {}
    if config:
        check_fields(files[0], config, _LOGIT_SCORE)
        if config.get("module_input_name", "causal_logits") != "causal_logits":
            raise CheckpointError(f"{files[0]} reads {config['module_input_name']!r:.80}; supported: 'causal_logits'.")
        found = [config.get("true_token_id"), config.get("false_token_id")]
    else:
        # Here, since the tokenizers library takes time to load that ``akidb-embed --help`` does not need.
        from akidb_embeddings.checkpoint.tokenizer_checks import load_tokenizer

        tokenizer = load_tokenizer(folder.path / "tokenizer.json")
        found = [tokenizer.token_to_id(token) for token in _ANSWERS]
    known = [int(token) for token in found if token is not None and 0 <= int(token) < vocab_size]
    if len(known) < len(found):
        raise CheckpointError(
            f"{folder.path} gives the tokens {found} for {' and '.join(_ANSWERS)}; both must be tokens of its "
            f"vocabulary of {vocab_size}."
        )
    return known[0], known[1]
