"""Models with LoRA adapters give PEFT's vectors; see ``golden/make_adapters.py``."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from tests.fixtures import adapter_path, copy_model, cosines, edit_json, golden, model_path
from tests.golden.texts import DOCUMENTS, QUERIES, TEXTS
from tests.random_models import quantize_folder

LIMITS = {"tiny-bert": 2048, "tiny-qwen3": 4096}
FEW = TEXTS[:12]
SHORT = [row for row, text in enumerate(TEXTS) if len(text) < 1500]


def adapted(base: str, adapter: Path | None = None, folder: Path | None = None, **settings: Any) -> EmbeddingService:
    chosen = adapter or adapter_path(f"{base}-lora")
    return EmbeddingService(folder or model_path(base), adapter=chosen, max_tokens=LIMITS[base], **settings)


def adapter_copy(name: str, destination: Path, rename: tuple[str, str] = ("", ""), **config: Any) -> Path:
    folder = copy_model(adapter_path(name), destination)
    edit_json(folder / "adapter_config.json", **config)
    tensors = load_file(folder / "adapter_model.safetensors")
    renamed = {key.replace(*rename, 1) if rename[0] else key: tensor for key, tensor in tensors.items()}
    save_file(renamed, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("memory", ["fast", "compact"])
@pytest.mark.parametrize("base", LIMITS)
def test_vectors_are_those_of_peft(base: str, memory: str) -> None:
    expected = dict(golden(f"{base}-lora"))
    with adapted(base, memory=memory) as embedder:
        vectors = embedder.embed([TEXTS[row] for row in SHORT])
        queries, documents = embedder.embed_queries(QUERIES), embedder.embed_documents(DOCUMENTS)
    expected["texts"] = expected["texts"][SHORT]
    for found, name in ((vectors, "texts"), (queries, "queries"), (documents, "documents")):
        assert cosines(found, expected[name]).min() >= 0.99999
        np.testing.assert_allclose(found, expected[name], atol=1e-5)
    assert cosines(vectors, golden(base)["texts"][SHORT]).min() < 0.99


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ("tiny-bert", {"alpha_pattern": {}}),
        ("tiny-bert", {"lora_alpha": 24}),
        ("tiny-qwen3", {"use_rslora": False}),
        ("tiny-qwen3", {"lora_alpha": 2}),
    ],
)
def test_each_setting_of_the_scaling_moves_vectors(base: str, change: dict[str, Any], tmp_path: Path) -> None:
    with adapted(base, adapter_copy(f"{base}-lora", tmp_path / "adapter", **change)) as embedder:
        assert cosines(embedder.embed(FEW), golden(f"{base}-lora")["texts"][:12]).min() < 0.999


def test_fan_in_fan_out_is_set_aside_for_linear_layers_as_in_peft(tmp_path: Path) -> None:
    adapter = adapter_copy("tiny-bert-lora", tmp_path / "adapter", fan_in_fan_out=True)
    with adapted("tiny-bert", adapter) as embedder:
        np.testing.assert_allclose(embedder.embed(FEW), golden("tiny-bert-lora")["texts"][:12], atol=1e-5)


def test_fan_in_fan_out_is_set_aside_for_what_mlx_lm_computes_too(tmp_path: Path) -> None:
    """PEFT corrects it by the kind of layer; of square matrices nothing else would tell."""
    adapters = [tmp_path / name for name in ("false", "true")]
    for path, flag in zip(adapters, (False, True), strict=True):
        copy_model(adapter_path("tiny-qwen3-lora"), path)
        edit_json(path / "adapter_config.json", fan_in_fan_out=flag, rank_pattern={}, alpha_pattern={}, r=4)
        generator = np.random.default_rng(0)
        layer = "base_model.model.model.layers.0.self_attn.o_proj"
        shapes = {"lora_A": (4, 32), "lora_B": (32, 4)}
        tensors = {
            f"{layer}.{part}.weight": generator.normal(0, 0.3, shape).astype(np.float32)
            for part, shape in shapes.items()
        }
        save_file(tensors, path / "adapter_model.safetensors")
    vectors = []
    for path in adapters:
        with EmbeddingService(model_path("tiny-llama"), adapter=path, pooling="last") as embedder:
            vectors.append(embedder.embed(FEW))
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_the_tokenizer_and_limit_of_the_adapter_take_the_place_of_the_models(tmp_path: Path) -> None:
    """sentence-transformers 6 writes the limit into the adapter's tokenizer_config.json, and reads that tokenizer."""
    base = copy_model("tiny-bert", tmp_path / "base")
    edit_json(base / "sentence_bert_config.json", max_seq_length=20)
    adapter = adapter_copy("tiny-bert-lora", tmp_path / "adapter")
    files = ["modules.json", "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json"]
    for name in files:
        shutil.copy(base / name, adapter / name)
    shutil.copytree(base / "1_Pooling", adapter / "1_Pooling")
    (adapter / "sentence_bert_config.json").write_text('{"transformer_task": "feature-extraction"}', encoding="utf-8")
    text, found = "word " * 40, []
    for limit, side in ((12, "right"), (12, "left"), (16, "right")):
        edit_json(adapter / "tokenizer_config.json", model_max_length=limit, truncation_side=side)
        with EmbeddingService(base, adapter=adapter) as embedder:
            result = embedder.encode([f"{text} end"])
            assert embedder.settings.max_tokens == limit
            assert (result.token_counts, result.truncated) == ([limit], [True])
            found.append((result.vectors.tobytes(), result.fingerprint))
    assert len({vector for vector, _ in found}) == len({name for _, name in found}) == 3


def test_a_file_that_is_rewritten_with_its_old_time_is_read_again(tmp_path: Path) -> None:
    """As copying programs do, also while a service with the old file is open."""
    adapter = adapter_copy("tiny-bert-lora", tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    with adapted("tiny-bert", adapter) as first:
        before = file.stat()
        save_file({key: value * (-1 if "lora_B" in key else 1) for key, value in load_file(file).items()}, file)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        with adapted("tiny-bert", adapter) as second:
            assert cosines(first.embed(FEW), second.embed(FEW)).min() < 0.999


def test_an_adapter_of_the_language_model_fits_the_bare_encoder(tmp_path: Path) -> None:
    """Its names have the prefix that the names of a language model's tensors have."""
    adapter = adapter_copy("tiny-qwen3-lora", tmp_path / "adapter", ("base_model.model.", "base_model.model.model."))
    with adapted("tiny-qwen3", adapter) as embedder:
        np.testing.assert_allclose(embedder.embed(FEW), golden("tiny-qwen3-lora")["texts"][:12], atol=1e-5)


def test_an_adapter_in_bfloat16_is_added_in_float32(tmp_path: Path) -> None:
    """Its numbers are exact in float32, so it gives what the same numbers in float32 give."""
    from akidb_embeddings.compute.runtime import mx

    folders = [adapter_copy("tiny-bert-lora", tmp_path / kind) for kind in ("bfloat16", "float32")]
    file = "adapter_model.safetensors"
    tensors: Any = mx.load(str(folders[0] / file))
    rounded = {key: tensor.astype(mx.bfloat16) for key, tensor in tensors.items()}
    mx.save_safetensors(str(folders[0] / file), rounded)
    mx.save_safetensors(str(folders[1] / file), {key: tensor.astype(mx.float32) for key, tensor in rounded.items()})
    with adapted("tiny-bert", folders[0]) as half, adapted("tiny-bert", folders[1]) as whole:
        np.testing.assert_array_equal(half.embed(FEW), whole.embed(FEW))


@pytest.mark.parametrize("memory", ["fast", "compact"])
def test_a_quantized_base_is_expanded_and_not_quantized_again(memory: str, tmp_path: Path) -> None:
    """The same vectors as of the numbers that the bits stand for."""
    packed, expanded = tmp_path / "packed", tmp_path / "expanded"
    quantize_folder(model_path("tiny-qwen3"), packed, expanded, lambda name: (4, 32, "affine"))
    with (
        adapted("tiny-qwen3", folder=packed, memory=memory) as few_bits,
        adapted("tiny-qwen3", folder=expanded) as all_bits,
    ):
        np.testing.assert_allclose(few_bits.embed(FEW), all_bits.embed(FEW), atol=1e-5)
        assert few_bits.fingerprint() != all_bits.fingerprint()


def test_sentence_transformers_files_of_the_adapter_take_the_place_of_the_models(tmp_path: Path) -> None:
    """As sentence-transformers saves a model with an adapter: the pooling that the adapter was trained with."""
    adapter = adapter_copy("tiny-bert-lora", tmp_path / "adapter")
    saved = copy_model("tiny-bert-cls", tmp_path / "saved")
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (saved / name).rename(adapter / name)
    (saved / "1_Pooling").rename(adapter / "1_Pooling")
    edit_json(adapter / "config_sentence_transformers.json", prompts={"query": "find: "})
    with EmbeddingService(model_path("tiny-bert"), adapter=adapter, normalize=False) as embedder:
        assert embedder.settings.pooling == "cls"
        assert embedder.checkpoint.max_tokens == 512
        assert embedder.settings.prompts["query"] == "find: "
        vectors = embedder.embed(FEW)
    np.testing.assert_allclose(vectors, golden("tiny-bert-lora")["texts_cls"][:12], rtol=1e-4, atol=1e-5)
