"""The modules after the encoder, from a model's sentence-transformers files: pooling, dense layers, normalization.

``modules.json`` lists the modules, each with a folder (``1_Pooling``, ``2_Dense``, …). Conversions often drop some of
these files. They are inferred from the others where possible; unsupported settings are rejected.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from akidb_embeddings.checkpoint.fields import FLAG, TEXT, Kind, check_fields, list_of, whole_from
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.safetensors import is_file_name
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.poolings import POOLING_MODES, POOLINGS

# Pooling by sentence-transformers' names, and the flags that earlier releases wrote, also of modes that are refused.
_POOLINGS = {mode.name: pooling for pooling, mode in POOLING_MODES.items()}
_POOLING_FLAGS = {
    **{mode.flag: mode.name for mode in POOLING_MODES.values()},
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_ENCODERS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
_EMPTY: tuple[Any, ...] = (None, {}, [])
SENTENCE_EMBEDDING = "sentence_embedding"
TOKEN_EMBEDDINGS = "token_embeddings"
# pplx-embed's quantization module. By default it makes integers from -127 to 127 by tanh.
INT8_BY_TANH = "st_quantize.FlexibleQuantizer"
_MOST_MODULES = 32
_TRANSFORMER: Mapping[str, Kind] = {"max_seq_length": whole_from(1), "do_lower_case": FLAG}
_MODES = list_of(TEXT, len(_POOLING_FLAGS))
_POOLING: Mapping[str, Kind] = {
    "pooling_mode": Kind(
        "a text or a list of texts", lambda value: _MODES.accepts([value] if isinstance(value, str) else value)
    ),
    **dict.fromkeys((*_POOLING_FLAGS, "include_prompt"), FLAG),
}
_READ = ("max_seq_length", "do_lower_case", "unpad_inputs")
LOGIT_SCORE = "LogitScore"
STATIC = "StaticEmbedding"
PROMPTS_FILE = "config_sentence_transformers.json"


class Layout(NamedTuple):
    """What the sentence-transformers files of a kind of model may say.

    Attributes:
        order: The modules, by their kinds.
        described: The modules, for messages.
        transformer: The values of the encoder's settings.
        read: Settings of the encoder that are read elsewhere.
    """

    order: re.Pattern[str]
    described: str
    transformer: Mapping[str, tuple[Any, ...]]
    read: tuple[str, ...] = ()


EMBEDDER = Layout(
    re.compile(rf"(Transformer( Pooling)?|{STATIC})( Dense)*( Normalize| {re.escape(INT8_BY_TANH)})?"),
    "Transformer, Pooling, any number of Dense, and Normalize, in this order, or StaticEmbedding in the place of the "
    "first two; otherwise vectors would differ",
    {
        "transformer_task": ("feature-extraction",),
        "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}},),
        "module_output_name": ("token_embeddings",),
        # No code is run: config.json names the class, and this library has its forward pass or refuses the model.
        "model_args": ({"trust_remote_code": True},),
    },
)
MULTI_VECTOR_MASK = "MultiVectorMask"
_PYLATE = "ColBERT"
MULTI_VECTOR = "MultiVectorEncoder"
"""That of sentence-transformers' models with token vectors."""
_PYLATE_DENSE = "pylate.models.Dense.Dense"
LATE = Layout(
    re.compile(rf"Transformer( Dense)*( {MULTI_VECTOR_MASK}| Normalize){{0,2}}"),
    f"Transformer, any number of Dense, {MULTI_VECTOR_MASK} and Normalize for token vectors; others would differ",
    EMBEDDER.transformer,
    ("query_length", "document_length", "query_expansion"),
)
_LOGITS = {"method": "forward", "method_output_name": "logits"}
SPLADE_POOLING = "SpladePooling"
SPLADE = Layout(
    re.compile(rf"(MLM)?Transformer {SPLADE_POOLING}"),
    f"Transformer and {SPLADE_POOLING} for sparse vectors; otherwise they would differ",
    {
        "transformer_task": ("fill-mask",),
        "modality_config": ({"text": _LOGITS},),
        "module_output_name": ("token_embeddings",),
    },
)
RERANKER = Layout(
    re.compile(rf"Transformer( {LOGIT_SCORE})?"),
    "Transformer alone, or with LogitScore after it; otherwise scores would differ",
    {
        "transformer_task": ("sequence-classification", "text-generation"),
        "modality_config": (
            {"text": _LOGITS},
            *({"text": _LOGITS, "message": _LOGITS | {"format": form}} for form in ("flat", "structured")),
        ),
        "module_output_name": ("scores", "causal_logits"),
    },
)


@dataclass(frozen=True)
class TransformerSettings:
    """sentence-transformers' settings of an encoder.

    Attributes:
        max_seq_length: The largest number of tokens, special tokens included; None if it is not limited.
        do_lower_case: Whether texts are lowercased before tokenization.
        file: The name of the file.
        settings: The contents of the file.
    """

    max_seq_length: int | None
    do_lower_case: bool
    file: str = field(default="sentence_bert_config.json", compare=False)
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Step:
    """One module of modules.json.

    Attributes:
        kind: The class (``Pooling``), with its package unless that is sentence-transformers.
        folder: The module's folder.
    """

    kind: str
    folder: Path


def layout_of(path: Path) -> Layout:
    """What the files of a model that makes vectors may say, by what kind of vectors it makes.

    Raises:
        CheckpointError: modules.json or the description is malformed.
    """
    modules = {kind for kind, _ in read_modules(path)}
    kinds = {_module_type(kind) for kind in modules}
    if SPLADE_POOLING in kinds:
        return SPLADE
    is_late = read_json(path / PROMPTS_FILE).get("model_type") in (_PYLATE, MULTI_VECTOR)
    return LATE if is_late or MULTI_VECTOR_MASK in kinds or _PYLATE_DENSE in modules else EMBEDDER


def read_steps(path: Path, layout: Layout | None = None) -> list[Step]:
    """The modules in modules.json, or without that file, the subfolders of modules.

    Args:
        path: The model's folder.
        layout: Which modules are supported; None for those of the kind of vectors that it makes.

    Raises:
        CheckpointError: modules.json is malformed, or has modules or an order that this library does not support.
    """
    steps = [Step(_module_type(kind), path / name) for kind, name in read_modules(path)]
    if not steps:
        steps = [Step("Transformer", path), *_steps_from_folders(path)]
    layout = layout or layout_of(path)
    order = " ".join(step.kind for step in steps)
    if not layout.order.fullmatch(order):
        raise CheckpointError(
            f"{path / 'modules.json'} lists {order.replace(' ', ', ')}. This library supports {layout.described} from "
            "the authors'."
        )
    if steps[0].folder != path and steps[0].kind != STATIC:
        raise CheckpointError(
            f"{path / 'modules.json'} puts the encoder into {steps[0].folder.name}, not into the root."
        )
    return steps


def static_folder(path: Path) -> Path | None:
    """The folder of the table and tokenizer of a model that begins with StaticEmbedding; None for other models.

    Raises:
        CheckpointError: As in ``read_modules``.
    """
    modules = read_modules(path)
    return path / modules[0][1] if modules and _module_type(modules[0][0]) == STATIC else None


def read_modules(path: Path) -> list[tuple[str, str]]:
    """The type and the folder's name of each module in modules.json; [] without that file.

    Raises:
        CheckpointError: It is not a list of modules, or a folder is not within the model's.
    """
    file = path / "modules.json"
    modules = read_json(file, default=[])
    if len(modules) > _MOST_MODULES:
        raise CheckpointError(f"{file} lists {len(modules)} modules; at most {_MOST_MODULES} are supported.")
    found = []
    for module in modules:
        kind, name = (module.get("type"), module.get("path")) if isinstance(module, Mapping) else (None, None)
        if not isinstance(kind, str) or not isinstance(name, str):
            raise CheckpointError(f"{file} is not a list of modules with type and path: {module!r:.80}.")
        if not all(part != ".." and is_file_name(part) for part in name.removesuffix("/").split("/") if name):
            raise CheckpointError(f"{file} gives the path {name!r:.80}, which is no folder within the model's.")
        found.append((kind, name))
    return found


def _module_type(name: str) -> str:
    """``Pooling`` for ``sentence_transformers.models.Pooling``; the full name of other packages' classes."""
    if name == _PYLATE_DENSE:
        return "Dense"
    return name.rsplit(".", 1)[-1] if name.startswith("sentence_transformers.") else name


def _steps_from_folders(path: Path) -> list[Step]:
    found = [
        folder for folder in path.glob("[0-9]*_*") if folder.name.partition("_")[0].isdecimal() and folder.is_dir()
    ]
    ordered = sorted(found, key=lambda folder: int(folder.name.partition("_")[0]))
    return [Step(folder.name.partition("_")[2], folder) for folder in ordered]


def transformer_settings(path: Path, layout: Layout = EMBEDDER) -> TransformerSettings:
    """The settings in sentence_bert_config.json, which older releases named after the encoder.

    Raises:
        CheckpointError: A setting that affects vectors is not supported.
    """
    files = [path / f"sentence_{name}_config.json" for name in _ENCODERS]
    file = next((file for file in files if file.is_file()), files[0])
    config = read_json(file)
    for key, value in config.items():
        allowed = layout.transformer.get(key, _EMPTY)
        if key not in (*_READ, *layout.read) and value not in allowed:
            raise CheckpointError(f"{file} sets {key} to {value!r}, which is not supported.")
    check_fields(file, config, _TRANSFORMER)
    return TransformerSettings(config.get("max_seq_length"), bool(config.get("do_lower_case")), file.name, config)


def trained_pooling(steps: Sequence[Step]) -> str | None:
    """The strategy in the pooling module's config.json; None if there is no such file.

    Raises:
        CheckpointError: The strategy is not supported.
    """
    files = [step.folder / "config.json" for step in steps if step.kind == "Pooling"]
    if not files or not files[0].is_file():
        return None
    config = read_json(files[0])
    check_fields(files[0], config, _POOLING)
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or [])
    modes += [name for flag, name in _POOLING_FLAGS.items() if config.get(flag)]
    modes = modes or ["mean"]  # sentence-transformers' own default
    if len(modes) > 1 or modes[0] not in _POOLINGS:
        raise CheckpointError(
            f"{files[0]} asks for {' + '.join(modes)} pooling; supported: one of {', '.join(POOLINGS)}."
        )
    if config.get("include_prompt") is False:
        raise CheckpointError(f"{files[0]} leaves prompts out of pooling, which is not supported (include_prompt).")
    return _POOLINGS[modes[0]]


def normalizes(steps: Sequence[Step]) -> bool:
    """Whether a module scales the sentence's vector to length 1. After pooling, one for token vectors has no effect.

    Raises:
        CheckpointError: A module normalizes anything else.
    """
    return SENTENCE_EMBEDDING in normalized(steps)


def normalized(steps: Sequence[Step]) -> list[str]:
    """What the Normalize modules scale: the sentence's vector, or those of its tokens.

    Raises:
        CheckpointError: One normalizes anything else.
    """
    return [_normalized(step.folder / "config.json") for step in steps if step.kind == "Normalize"]


def _normalized(file: Path) -> str:
    """What a Normalize module scales, in place. Earlier releases wrote no config.json for it."""
    config = read_json(file)
    given = config.get("module_input_name", SENTENCE_EMBEDDING)
    written = config.get("module_output_name")
    if given not in (SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS) or written not in (None, given):
        raise CheckpointError(
            f"{file} normalizes {given!r} into {written or given!r}; supported: {SENTENCE_EMBEDDING!r} or "
            f"{TOKEN_EMBEDDINGS!r}, in place."
        )
    return str(given)
