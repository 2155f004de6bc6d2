"""What every tiny checkpoint is made of: random weights and the sentence-transformers files around them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import sentence_transformers
import torch
from jsonfile import write_json
from safetensors.torch import save as to_safetensors
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Pipeline:
    """The sentence-transformers files around a model. ``dense`` holds (in, out) sizes; None writes no such file.

    ``quantizer`` stands for what pplx-embed has: a quantizer of its own code after the pooling, no normalization, and
    no ``config_sentence_transformers.json``.
    """

    pooling: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    dense: tuple[tuple[int, int], ...] = ()
    max_seq_length: int | None = None
    quantizer: bool = False


def randomize(
    model: torch.nn.Module,
    seed: int,
    *,
    norm_center: float,
    linear_std: float,
    other_stds: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Fill every parameter from one generator, in the order of their names.

    ``other_stds`` maps a part of a name to the standard deviation that its weights have instead of ``linear_std``.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif "norm" in name.lower():
                # Sharper attention where queries and keys are normalized.
                sharpening = 0.5 if "q_norm" in name or "k_norm" in name else 0.0
                parameter.copy_(norm_center + sharpening + 0.3 * noise)
            else:
                std = next((std for part, std in other_stds.items() if part in name), linear_std)
                parameter.copy_(std * noise)


def write_pipeline(folder: Path, hidden_size: int, pipeline: Pipeline) -> None:
    """``modules.json``, ``1_Pooling/``, ``N_Dense/`` with random weights, and the prompts."""
    dense = [f"{index}_Dense" for index, _ in enumerate(pipeline.dense, start=2)]
    paths = ["", "1_Pooling", *dense, f"{len(dense) + 2}_Normalize"]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, path in enumerate(paths)
        for kind in [path.partition("_")[2] or "Transformer"]
    ]
    if pipeline.quantizer:
        modules[-1] |= {"path": "", "type": "st_quantize.FlexibleQuantizer", "kwargs": ["quantization"]}
    write_json(folder / "modules.json", modules)
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    pooling = {f"pooling_mode_{mode}": mode == pipeline.pooling for mode in modes}
    (folder / "1_Pooling").mkdir()
    pooling_config = {"word_embedding_dimension": hidden_size} | pooling | {"include_prompt": True}
    write_json(folder / "1_Pooling" / "config.json", pooling_config)
    for path, (in_features, out_features) in zip(dense, pipeline.dense, strict=True):
        (folder / path).mkdir()
        sizes = {"in_features": in_features, "out_features": out_features}
        identity = {"bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
        write_json(folder / path / "config.json", sizes | identity)
        linear = torch.nn.Linear(in_features, out_features, bias=False)
        randomize(linear, seed=in_features, norm_center=1.0, linear_std=0.15)
        save(linear.state_dict(prefix="linear."), folder / path)
    if pipeline.max_seq_length is not None:
        limits = {"max_seq_length": pipeline.max_seq_length, "do_lower_case": False}
        write_json(folder / "sentence_bert_config.json", limits)
    if pipeline.quantizer:
        return
    prompts = {"prompts": dict(pipeline.prompts), "default_prompt_name": None, "similarity_fn_name": "cosine"}
    versions = {"sentence_transformers": sentence_transformers.__version__, "pytorch": torch.__version__}
    settings = {"__version__": versions} | (prompts if pipeline.prompts else {})
    write_json(folder / "config_sentence_transformers.json", settings)


def save(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    contiguous = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
    (folder / "model.safetensors").write_bytes(to_safetensors(contiguous, metadata={"format": "pt"}))


def write_model(folder: Path, model: PreTrainedModel, architecture: str, pipeline: Pipeline) -> None:
    model.config.architectures = [architecture]
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)
    save(model.state_dict(), folder)
    write_pipeline(folder, model.config.hidden_size, pipeline)
