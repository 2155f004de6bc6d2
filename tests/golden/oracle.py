"""sentence-transformers as the oracle: one text at a time, float32, eager attention, on the CPU."""

import json
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import sentence_transformers
import tokenizers
import torch
import transformers
from jsonfile import read_json, write_json
from lfm2_reference import attend_both_ways
from numpy.typing import NDArray
from references import has_reference, reference_of, without_code
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from texts import DOCUMENTS, PADDING_TEXTS, QUERIES, TEXTS

Vectors = NDArray[np.float32]

RAW_POOLINGS = {"texts_mean": "mean", "texts_cls": "cls", "texts_last": "lasttoken"}


def load(folder: Path) -> SentenceTransformer:
    """The model as sentence-transformers computes it; pplx-embed without its quantizer, see ``finished``."""
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    with readable(folder) as path:
        model = SentenceTransformer(str(path), device="cpu", model_kwargs=options, local_files_only=True)
    reference = reference_of(folder)
    if reference is not None:
        reference.config = transformer(model).config
        model[0].model = reference
    if is_pplx(folder):
        network = transformer(model)
        network.config.is_causal = False  # which is what the mask is made from
        for layer in network.layers:
            layer.self_attn.is_causal = False
    if read_json(folder / "config.json")["model_type"] == "lfm2":
        attend_both_ways(transformer(model))
    add_projection(folder, transformer(model))
    return model


def add_projection(folder: Path, network: Any) -> None:
    """Put voyage-4-nano's linear layer after the network, as its own class does."""
    with safetensors.safe_open(folder / "model.safetensors", "pt") as tensors:
        if "linear.weight" not in tensors.keys():  # noqa: SIM118 (it is no dictionary)
            return
        weight = tensors.get_tensor("linear.weight")
    forward = network.forward

    def projected(*arguments: Any, **named: Any) -> Any:
        output = forward(*arguments, **named)
        output.last_hidden_state = output.last_hidden_state @ weight.T
        return output

    network.forward = projected  # which sentence-transformers calls by this name, so that no hook would run


@contextmanager
def readable(folder: Path) -> Iterator[Path]:
    """The folder, or a copy of it where the authors' own code would be needed that transformers makes superfluous.

    NomicBERT's config gets the names that transformers knows; the weights keep theirs, which it maps. pplx-embed is a
    Qwen3 but for its mask. JinaBERT, and NomicBERT with experts, are computed by references, see ``references.py``.
    """
    native, config = folder / "config.native.json", read_json(folder / "config.json")
    if not (is_pplx(folder) or native.is_file() or has_reference(config)):
        yield folder
        return
    with tempfile.TemporaryDirectory() as parent:
        copy = Path(shutil.copytree(folder, Path(parent) / folder.name))
        if native.is_file():
            shutil.copy(native, copy / "config.json")
        elif has_reference(config):
            write_json(copy / "config.json", without_code(config))
        else:
            write_json(copy / "config.json", without_code(config | {"model_type": "qwen3"}))
            write_json(copy / "modules.json", read_json(folder / "modules.json")[:-1])
        yield copy


def is_pplx(folder: Path) -> bool:
    return bool(read_json(folder / "config.json")["model_type"] == "bidirectional_pplx_qwen3")


def finished(folder: Path, vectors: Vectors) -> Vectors:
    """What the authors' pipeline returns: for pplx-embed the integers of its quantizer, as float32."""
    if not is_pplx(folder):
        return vectors
    rounded: Vectors = torch.clamp(torch.round(torch.tanh(torch.from_numpy(vectors)) * 127), -128, 127).numpy()
    return rounded


def transformer(model: SentenceTransformer) -> Any:
    """The transformers model inside: its first module's."""
    return model[0].model


def embed(encode: Callable[..., Any], texts: Sequence[str]) -> Vectors:
    """[len(texts), dimension]; a batch never holds more than one text."""
    rows = [encode([text], batch_size=1, show_progress_bar=False, convert_to_numpy=True)[0] for text in texts]
    return np.stack(rows).astype(np.float32, copy=False)


def document_encoder(model: SentenceTransformer) -> Callable[..., Any]:
    """``encode_document``, which would pass over the prompt ``passage``: see ``sanity.check_passage_prompt``."""
    return partial(model.encode, prompt_name="passage") if "passage" in model.prompts else model.encode_document


@dataclass(frozen=True)
class Encoded:
    """One text on its way through the model: its token ids [L] and its last hidden states [1, L, hidden]."""

    ids: list[int]
    hidden: torch.Tensor


def hidden_states(model: SentenceTransformer, text: str) -> Encoded:
    features = model.preprocess([text])
    with torch.inference_mode():
        hidden = model[0](features)["token_embeddings"]
    return Encoded(features["input_ids"][0].tolist(), hidden)


def pool(hidden: torch.Tensor, mode: str) -> Vectors:
    """Pooled hidden states [hidden], before any dense layer or normalization."""
    pooling = Pooling(hidden.shape[-1], pooling_mode=mode)
    pooled: Vectors = pooling({"token_embeddings": hidden})["sentence_embedding"][0].numpy()
    return pooled


def golden(folder: Path, *, raw_poolings: bool) -> dict[str, NDArray[Any]]:
    """Everything the tests compare with, by the names that ``README.md`` explains."""
    model = load(folder)
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in TEXTS]
    texts = [text for text, length in zip(TEXTS, lengths, strict=True) if length]
    encoded = [hidden_states(model, text) for text in texts]

    def in_place(rows: NDArray[Any]) -> NDArray[Any]:
        """Zero for a text of no tokens, which only pplx-embed has; in a batch that is what its pipeline gives."""
        whole = np.zeros((len(TEXTS), *rows.shape[1:]), rows.dtype)
        whole[np.array(lengths) > 0] = rows
        return whole

    arrays: dict[str, NDArray[Any]] = {
        "texts": in_place(finished(folder, embed(model.encode, texts))),
        "queries": finished(folder, embed(model.encode_query, QUERIES)),
        "documents": finished(folder, embed(document_encoder(model), DOCUMENTS)),
        "token_counts": in_place(np.array([len(text.ids) for text in encoded], np.int32)),
        "full_token_counts": np.array(lengths, np.int32),
        "versions": np.array(json.dumps(versions())),
    }
    if raw_poolings:
        for name, mode in RAW_POOLINGS.items():
            arrays[name] = in_place(np.stack([pool(text.hidden, mode) for text in encoded]))
    if model.tokenizer.pad_token == "<pad>" and model.tokenizer.bos_token == "<s>":
        arrays["padding_texts"] = embed(model.encode, PADDING_TEXTS)
    return arrays


def golden_with_config(folder: Path, config: Path) -> dict[str, NDArray[Any]]:
    """The same of a model whose config.json is another one."""
    with tempfile.TemporaryDirectory() as parent:
        copy = Path(shutil.copytree(folder, Path(parent) / folder.name))
        shutil.copy(config, copy / "config.json")
        return golden(copy, raw_poolings=False)


def versions() -> dict[str, str]:
    modules = (torch, transformers, sentence_transformers, tokenizers, safetensors, np)
    return {"python": platform.python_version()} | {module.__name__: module.__version__ for module in modules}
