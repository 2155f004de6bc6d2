"""The architecture of a config.json: one of this library's, else one of mlx-lm's, if that is installed.

Neither MLX nor mlx-lm is imported, because this runs on any thread, and importing mlx-lm takes seconds.
"""

import ast
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.arguments import mapping
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.extras import install_command
from akidb_embeddings.registry.architectures import ARCHITECTURES, Architecture, Config
from akidb_embeddings.registry.named_classes import remote_class
from akidb_embeddings.registry.twins import architecture_name

# Other names, in mlx-lm's architectures, of the sizes that this library needs before it reads weights.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "d_model", "model_dim", "dim"),
    "vocab_size": ("n_vocab", "padded_vocab_size"),
    "max_position_embeddings": ("n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "max_context_length"),
}
_CAUSAL_SETTINGS: Mapping[str, tuple[Any, ...]] = {  # the values that causal decoders allow
    "is_causal": (None, True),
    "use_bidirectional_attention": (None, False),
    "is_encoder_decoder": (None, False),
}


def find_architecture(config: Config) -> Architecture:
    """The architecture of config.json: of its ``model_type``, or the bidirectional twin that its other settings mean.

    Raises:
        CheckpointError: Neither this library nor the installed mlx-lm implements it, mlx-lm's attention would differ,
            or config.json names remote code that this library does not reimplement.
    """
    name = str(config.get("model_type"))
    own = ARCHITECTURES.get(architecture_name(config))
    code = str(mapping(config, "auto_map").get("AutoModel", ""))
    if code and (own is None or remote_class(config) != own.remote_code):
        raise CheckpointError(
            f"config.json names remote code for this {name} model (auto_map: {code}), which is not executed."
        )
    if own is not None:
        return own
    problem = f"config.json names the architecture {name!r}; supported: {', '.join(ARCHITECTURES)}."
    folder = _mlx_lm_folder()
    if folder is None:
        raise CheckpointError(
            f"{problem} Decoders of other architectures may work through mlx-lm: {install_command('mlx-lm')}."
        )
    if mlx_lm_file(config) is None:
        raise CheckpointError(f"{problem} {_mlx_lm_version()}, which computes other ones, has no {name!r} either.")
    _check_text_decoder(config, name)
    return Architecture(
        "mlx_lm_decoder",
        lambda config: None,
        float16=lambda config: False,  # it is unknown which activations fit
        prefix="",  # mlx-lm renames the tensors
        ignored=("lm_head.",),
        poolings=("mean", "last"),
        aliases=_ALIASES,
        max_tokens=_attention_window,
        unattended=lambda config: False,
        computed_by=_mlx_lm_version(),
    )


def mlx_lm_file(config: Config) -> Path | None:
    """The file of the installed mlx-lm that implements ``config``'s architecture; None if there is none."""
    folder = _mlx_lm_folder()
    if folder is None:
        return None
    model_type = str(config.get("model_type"))
    name = _read_table(folder, "MODEL_REMAPPING").get(model_type, model_type)
    for architecture in config.get("architectures") or ():
        name = _read_table(folder, "MODEL_ARCHITECTURE_REMAPPING").get((model_type, architecture), name)
    file = folder / "models" / f"{name}.py"
    if not re.fullmatch(r"[\w-]+", name) or not file.is_file():
        return None
    has_model = re.search(r"^class Model\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    return file if has_model else None


def _mlx_lm_folder() -> Path | None:
    spec = importlib.util.find_spec("mlx_lm")
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) if locations else None


def _mlx_lm_version() -> str:
    try:
        return f"mlx-lm {importlib.metadata.version('mlx-lm')}"
    except importlib.metadata.PackageNotFoundError:
        return "mlx-lm"


@functools.cache
def _read_table(folder: Path, name: str) -> dict[Any, str]:
    """A dictionary literal in mlx-lm's utils.py, read without importing it."""
    for node in ast.parse((folder / "utils.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            table: dict[Any, str] = ast.literal_eval(node.value)
            return table
    return {}


def _check_text_decoder(config: Config, name: str) -> None:
    """Reject settings that mlx-lm would ignore: it computes only causal attention, and only text."""
    for key, allowed in _CAUSAL_SETTINGS.items():
        if config.get(key) not in allowed:
            raise CheckpointError(
                f"config.json sets {key} to {config[key]!r}. mlx-lm, which would compute this {name} model, has only "
                "causal attention, so its vectors would differ from the authors'."
            )
    for architecture in config.get("architectures") or ():
        if "bidirectional" in str(architecture).lower():
            raise CheckpointError(
                f"config.json names {architecture}; mlx-lm, which would compute it, has only causal attention."
            )
    if "text_config" in config:
        raise CheckpointError(
            f"config.json describes a multimodal {name} model (text_config); only text models work through mlx-lm."
        )
    method = mapping(config, "quantization_config").get("quant_method")
    if method and not config.get("quantization"):
        raise CheckpointError(
            f"The weights are quantized by {method!r}; give the full-precision model, or one quantized by MLX."
        )


def _attention_window(config: Config) -> int | None:
    """The largest number of tokens for which sliding windows mask nothing; None without such windows.

    Longer texts are not supported, because some of mlx-lm's models ignore windows, and some read ``layer_types``
    differently from transformers.
    """
    layer_types = config.get("layer_types")
    is_full_attention = isinstance(layer_types, list) and not {"sliding_attention", "chunked_attention"} & set(
        map(str, layer_types)
    )
    if config.get("use_sliding_window") is False or is_full_attention:
        return None
    widths = [config.get(key) for key in ("sliding_window", "attention_chunk_size")]
    return min((int(width) for width in widths if width), default=None)
