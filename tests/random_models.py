"""Random checkpoints of any architecture, dimension and quantization, made on the spot without torch."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from akidb_embeddings.architectures import build_encoder
from akidb_embeddings.compute.fused import FUSED
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.registry.architectures import ARCHITECTURES
from tests.fixtures import DATA, edit_json

BERT = {
    "model_type": "bert", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "max_position_embeddings": 256,
}  # fmt: skip
QWEN3 = {
    "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 128, "rope_theta": 1e6,
    "max_position_embeddings": 256,
}  # fmt: skip
GEMMA3 = {
    "model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 3,
    "num_key_value_heads": 1, "head_dim": 32, "intermediate_size": 128, "query_pre_attn_scalar": 32,
    "sliding_window": 16, "sliding_window_pattern": 3, "use_bidirectional_attention": True,
    "max_position_embeddings": 256,
}  # fmt: skip
XLM_ROBERTA = BERT | {"model_type": "xlm-roberta", "type_vocab_size": 1, "max_position_embeddings": 258}
MPNET = BERT | {"model_type": "mpnet", "relative_attention_num_buckets": 32, "max_position_embeddings": 258}
NOMIC_BERT = BERT | {"model_type": "nomic_bert", "rotary_emb_base": 1000}
MODERNBERT = BERT | {
    "model_type": "modernbert", "num_hidden_layers": 3, "intermediate_size": 96, "local_attention": 32,
    "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0,
}  # fmt: skip
PPLX = QWEN3 | {"model_type": "bidirectional_pplx_qwen3", "use_bidirectional_attention": True}
# Those whose matrices differ; XLM-RoBERTa's are BERT's, and those of other decoders are Qwen3's.
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": BERT, "qwen3": QWEN3, "gemma3": GEMMA3, "mpnet": MPNET, "nomic-bert": NOMIC_BERT, "modernbert": MODERNBERT,
}  # fmt: skip
_TOKENIZERS = {
    "bert": "tiny-bert",
    "qwen3": "tiny-qwen3",
    "gemma3_text": "tiny-gemma3",
    "xlm-roberta": "tiny-xlm-roberta",
    "mpnet": "tiny-mpnet",
    "nomic_bert": "tiny-nomic-bert",
    "modernbert": "tiny-modernbert",
    "bidirectional_pplx_qwen3": "tiny-pplx",
}
_SAYS_NOTHING_OF_POOLING = ("bert", "xlm-roberta", "mpnet", "nomic_bert", "modernbert")


class _Recorder:
    """Stands in for Weights: gives every tensor an architecture asks for random values."""

    def __init__(self, seed: int) -> None:
        self.generator, self.dtype = np.random.default_rng(seed), mx.float32
        self.tensors: dict[str, NDArray[np.float32]] = {}

    def _make(self, name: str, shape: tuple[int, ...], spread: float) -> None:
        self.tensors[name] = (self.generator.standard_normal(shape) * spread).astype(np.float32)

    def vector(self, name: str, shape: tuple[int, ...], *, offset: float = 0.0, factor: float = 1.0) -> mx.array:
        self._make(name, shape, 0.3)
        return mx.zeros(shape)

    def embedding(self, name: str, rows: int, dimension: int) -> None:
        self._make(f"{name}.weight", (rows, dimension), 0.5)

    def linear(self, names: str | Sequence[str], inputs: int, outputs: int | Sequence[int], bias: bool) -> None:
        names = [names] if isinstance(names, str) else names
        outputs = [outputs] if isinstance(outputs, int) else outputs
        for name, rows in zip(names, outputs, strict=True):
            self._make(f"{name}.weight", (rows, inputs), 1.5 * inputs**-0.5)
            if bias:
                self._make(f"{name}.bias", (rows,), 0.2)


def random_model(folder: Path, config: dict[str, Any], dense: Sequence[tuple[int, int]] = (), seed: int = 5) -> Path:
    """A float32 model folder with the tokenizer of the tiny model of its kind; ``dense`` gives (inputs, outputs)."""
    tiny = DATA / "models" / _TOKENIZERS[config["model_type"]]
    words = json.loads((tiny / "config.json").read_text())["vocab_size"]
    config = {"vocab_size": words, **config}
    recorder: Any = _Recorder(seed)
    build_encoder(ARCHITECTURES[config["model_type"]], config, recorder, FUSED)
    for index, (inputs, outputs) in enumerate(dense):
        recorder.linear(f"dense.{index}", inputs, outputs, bias=False)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny / file, folder / file)
    if config["model_type"] in _SAYS_NOTHING_OF_POOLING:
        (folder / "1_Pooling").mkdir()
        edit_json(folder / "1_Pooling" / "config.json", pooling_mode_mean_tokens=True)
    save_file(recorder.tensors, folder / "model.safetensors")
    return folder


# (bits, group size, mode) of a tensor by its name, or None to keep it, as those are whose rows no group divides
Rule = Callable[[str], tuple[int, int, str] | None]


def quantize_folder(source: Path, packed: Path, expanded: Path, rule: Rule) -> None:
    """Two copies of a float32 folder: ``packed`` quantized by ``rule``, ``expanded`` with what those bits stand for."""
    shutil.copytree(source, packed)
    shutil.copytree(source, expanded)
    stored: dict[str, mx.array] = {}
    meant: dict[str, NDArray[Any]] = {}
    entries: dict[str, Any] = {"group_size": 64, "bits": 4}
    for name, values in load_file(source / "model.safetensors").items():
        layer = name.removesuffix(".weight")
        chosen = rule(name) if name.endswith(".weight") and values.ndim == 2 else None
        if chosen is None or values.shape[1] % chosen[1]:
            stored[name], meant[name] = mx.array(values), values
            continue
        bits, group, mode = chosen
        entries[layer] = {"group_size": group, "bits": bits, "mode": mode}
        parts = mx.quantize(mx.array(values), group, bits, mode)
        stored |= dict(zip((name, f"{layer}.scales", f"{layer}.biases"), parts, strict=False))
        meant[name] = np.array(mx.dequantize(*parts, group_size=group, bits=bits, mode=mode).astype(mx.float32))
    mx.save_safetensors(str(packed / "model.safetensors"), stored)
    save_file(meant, expanded / "model.safetensors")
    edit_json(packed / "config.json", quantization=entries)
