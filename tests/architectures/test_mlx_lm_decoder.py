"""Decoders through mlx-lm: transformers' vectors, however they are stored, and a warning of those nobody compared."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.compute.backend import cpu, metal
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.registry.architectures import ARCHITECTURES
from tests.architectures.tools import LLAMA, MIXED, vectors
from tests.conftest import run_python
from tests.fixtures import Array, copy_model, cosines, edit_json, forward, golden, model_path
from tests.golden.texts import DOCUMENTS, QUERIES, TEXTS
from tests.random_models import quantize_folder

SHORT = [index for index, text in enumerate(TEXTS) if len(text) < 1500]
PACKED = metal(mx.Device(mx.cpu))
BACKENDS = {"cpu": cpu("fast"), "cpu-compact": cpu("compact"), "metal": PACKED}


def rename(folder: Path, change: Any) -> Path:
    """Store the tensors under other names: ``change(name)``."""
    tensors = load_file(folder / "model.safetensors")
    save_file({change(name): values for name, values in tensors.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("memory", ["fast", "compact"])
def test_vectors_are_those_of_sentence_transformers(memory: str) -> None:
    expected = golden("tiny-llama")
    short = expected["full_token_counts"] <= 512  # longer ones, of up to 1024 tokens, agree too, but take their time
    with EmbeddingService(str(LLAMA), memory=memory) as service:
        result = service.encode([text for text, is_short in zip(TEXTS, short, strict=True) if is_short])
        queries, documents = service.embed_queries(QUERIES), service.embed_documents(DOCUMENTS)
    assert cosines(result.vectors, expected["texts"][short]).min() >= 0.99999
    assert cosines(queries, expected["queries"]).min() >= 0.99999
    assert cosines(documents, expected["documents"]).min() >= 0.99999
    assert result.token_counts == expected["token_counts"][short].tolist()
    assert result.fingerprint.startswith("llama-last-32-")


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_both_poolings_padded_and_alone(pooling: str) -> None:
    expected = golden("tiny-llama")[f"texts_{pooling}"][SHORT]
    texts = [TEXTS[index] for index in SHORT]
    with EmbeddingService(str(LLAMA), pooling=pooling, max_tokens=1024, normalize=False) as service:
        alone = np.concatenate([service.embed([text]) for text in texts])
        together = service.embed(texts)
    for computed in (alone, together):
        np.testing.assert_allclose(computed, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["tiny-qwen3", "tiny-gemma3-causal"])
def test_other_families_agree_with_transformers_too(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those computed here, as if they were not: names without a prefix, transformers 5's config, sliding windows."""
    model_type = read_checkpoint(model_path(name)).config["model_type"]
    others = {key: value for key, value in ARCHITECTURES.items() if key != model_type}
    monkeypatch.setattr("akidb_embeddings.checkpoint.architecture.ARCHITECTURES", others)
    folder = copy_model(name, tmp_path / "model")
    if name == "tiny-gemma3-causal":  # the defaults, which mlx-lm reads in transformers 4's keys only
        edit_json(folder / "config.json", rope_parameters=None)
    with EmbeddingService(str(folder), max_tokens=32) as service:
        assert service.checkpoint.architecture.computed_by.startswith("mlx-lm ")
        result = service.encode(TEXTS)
    whole = ~np.array(result.truncated)
    assert whole.sum() > 10
    assert cosines(result.vectors, golden(name)["texts"])[whole].min() >= 0.99999


@pytest.mark.parametrize("rope", ["theta", "default", "linear"])
def test_rotary_positions_in_transformers_5s_keys_mean_the_same(tmp_path: Path, rope: str) -> None:
    """mlx-lm's Llama reads transformers 4's keys only, and takes a base of 10,000 where those lack."""
    old, new = copy_model(LLAMA, tmp_path / "old"), copy_model(LLAMA, tmp_path / "new")
    entry: dict[str, Any] = {"rope_type": "linear", "factor": 4.0} if rope == "linear" else {}
    edit_json(old / "config.json", rope_scaling=entry or None)
    kind = {"rope_type": "default"} if rope == "default" else {}
    edit_json(new / "config.json", rope_theta=None, rope_scaling=None,
              rope_parameters={"rope_theta": 500000.0, **kind, **entry})  # fmt: skip
    np.testing.assert_array_equal(vectors(new, MIXED), vectors(old, MIXED))
    same = cosines(vectors(new, MIXED), vectors(LLAMA, MIXED)).min() >= 0.99999
    assert same == (rope != "linear")


def test_a_family_that_mlx_lm_computes_as_another(tmp_path: Path) -> None:
    folder = copy_model(LLAMA, tmp_path / "model", model_type="mistral")
    assert cosines(vectors(folder, MIXED), vectors(LLAMA, MIXED)).min() >= 0.99999


def test_texts_end_where_a_sliding_window_begins_to_hide(tmp_path: Path) -> None:
    """mlx-lm gives Mistral no window: what is computed must not depend on it."""
    folder = copy_model(LLAMA, tmp_path / "model", model_type="mistral", sliding_window=40)
    assert read_checkpoint(folder).max_tokens == 40
    with EmbeddingService(str(folder)) as service, EmbeddingService(str(LLAMA), max_tokens=40) as plain:
        result = service.encode(MIXED)
        assert cosines(result.vectors, plain.embed(MIXED)).min() >= 0.99999
    assert any(result.truncated)
    for unused in ({"use_sliding_window": False}, {"layer_types": ["full_attention"] * 3}):
        edit_json(folder / "config.json", **{"use_sliding_window": None, "layer_types": None, **unused})
        assert read_checkpoint(folder).max_tokens == 1024


def test_names_without_a_prefix_and_a_head_nobody_needs(tmp_path: Path) -> None:
    bare = rename(copy_model(LLAMA, tmp_path / "bare"), lambda name: name.removeprefix("model."))
    headed = copy_model(LLAMA, tmp_path / "headed", tie_word_embeddings=False)
    tensors = load_file(headed / "model.safetensors")
    save_file({**tensors, "lm_head.weight": np.ones((400, 32), np.float32)}, headed / "model.safetensors")
    expected = vectors(LLAMA, MIXED)
    for folder in (bare, headed):
        np.testing.assert_array_equal(vectors(folder, MIXED), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["affine", "mxfp4"])
def test_quantized_weights_mean_their_dequantized_values(tmp_path: Path, backend: str, mode: str) -> None:
    quantize_folder(LLAMA, tmp_path / "packed", tmp_path / "expanded", lambda name: (4, 32, mode))
    expected = forward(tmp_path / "expanded", cpu(), MIXED)
    assert cosines(forward(tmp_path / "packed", BACKENDS[backend], MIXED), expected).min() >= 0.99999
    assert cosines(expected, forward(LLAMA, cpu(), MIXED)).min() < 0.999


def mixture(folder: Path, experts: int = 4) -> Path:
    """tiny-qwen3 as a mixture of equal experts, of which any two give together what one gives alone."""
    copy_model("tiny-qwen3", folder, model_type="qwen3_moe", num_experts=experts, num_experts_per_tok=2,
               moe_intermediate_size=64, decoder_sparse_step=1, mlp_only_layers=[], norm_topk_prob=True)  # fmt: skip
    tensors: dict[str, Array] = {}
    generator = np.random.default_rng(0)
    for name, values in load_file(folder / "model.safetensors").items():
        layer, is_mlp, part = name.partition(".mlp.")
        for expert in range(experts if is_mlp else 0):
            tensors[f"model.{layer}.mlp.experts.{expert}.{part}"] = values
        if is_mlp:
            tensors[f"model.{layer}.mlp.gate.weight"] = generator.standard_normal((experts, 32), np.float32)
        else:
            tensors[f"model.{name}"] = values
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_a_mixture_of_experts(tmp_path: Path) -> None:
    expected = golden("tiny-qwen3")["texts"][SHORT]
    computed = vectors(mixture(tmp_path / "model"), [TEXTS[index] for index in SHORT])
    assert cosines(computed, expected).min() >= 0.99999


@pytest.mark.parametrize("backend", BACKENDS)
def test_quantized_experts(tmp_path: Path, backend: str) -> None:
    """In mlx-lm's layout: the experts' matrices in one tensor, ``[experts, out, in]``."""
    packed, plain = mixture(tmp_path / "packed"), copy_model(mixture(tmp_path / "model"), tmp_path / "plain")
    tensors = load_file(packed / "model.safetensors")
    names = sorted({name for name in tensors if ".experts.0." in name})
    stored = {name: mx.array(values) for name, values in tensors.items() if ".experts." not in name}
    meant = dict(stored)
    for name in names:
        stacked = mx.stack([mx.array(tensors[name.replace("experts.0", f"experts.{expert}")]) for expert in range(4)])
        layer = name.replace("experts.0", "switch_mlp").removesuffix(".weight")
        parts = mx.quantize(stacked, 32, 4)
        stored |= dict(zip((f"{layer}.weight", f"{layer}.scales", f"{layer}.biases"), parts, strict=True))
        meant[f"{layer}.weight"] = mx.dequantize(*parts, 32, 4)
    mx.save_safetensors(str(packed / "model.safetensors"), stored)
    mx.save_safetensors(str(plain / "model.safetensors"), meant)
    edit_json(packed / "config.json", quantization={"group_size": 32, "bits": 4})
    expected = forward(plain, cpu(), MIXED)
    assert cosines(forward(packed, BACKENDS[backend], MIXED), expected).min() >= 0.99999
    assert cosines(expected, forward(tmp_path / "model", cpu(), MIXED)).min() < 0.9999


def test_two_models_at_once_each_on_its_own_thread(tmp_path: Path) -> None:
    folders = [LLAMA, copy_model(LLAMA, tmp_path / "other", rope_theta=20000.0)]
    alone = [vectors(folder, MIXED) for folder in folders]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda folder: vectors(folder, MIXED * 4)[: len(MIXED)], folders))
    for one, other in zip(alone, together, strict=True):
        assert cosines(one, other).min() >= 0.99999
    assert cosines(*alone).min() < 0.999


def test_transformers_is_not_imported_and_no_limit_of_the_process_changed() -> None:
    code = (
        "import resource, sys; from akidb_embeddings import EmbeddingService; "
        "before = resource.getrlimit(resource.RLIMIT_NOFILE); "
        "EmbeddingService(sys.argv[1]).embed(['a']); "
        "print('mlx_lm' in sys.modules or 'transformers' in sys.modules, "
        "before == resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert run_python(code, str(LLAMA)).split() == ["False", "True"]


@pytest.mark.parametrize("attempt", range(3))
def test_a_program_that_used_mlx_lm_ends_without_a_crash(attempt: int) -> None:
    """Without the engine's wait for its thread, half of the attempts abort (until Python 3.13)."""
    code = (
        "import sys; from akidb_embeddings import EmbeddingService\n"
        "with EmbeddingService(sys.argv[1]) as one, EmbeddingService(sys.argv[1], memory='compact') as two:\n"
        "    one.embed(['a']), two.embed(['a'])"
    )
    run_python(code, str(LLAMA))


def test_an_architecture_nobody_compared_is_loaded_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_model(LLAMA, tmp_path / "model", model_type="mimo", num_nextn_predict_layers=0, attention_bias=None)
    tensors = load_file(folder / "model.safetensors")
    for layer in range(3):
        for part, size in (("q", 32), ("k", 16), ("v", 16)):
            tensors[f"model.layers.{layer}.self_attn.{part}_proj.bias"] = np.zeros(size, np.float32)
    save_file(tensors, folder / "model.safetensors")
    with caplog.at_level(logging.WARNING):
        computed = vectors(folder, MIXED)
        assert "mlx-lm's mimo is not one of the architectures" in caplog.text
        caplog.clear()
        expected = vectors(LLAMA, MIXED)
    assert "not one of the architectures" not in caplog.text
    assert cosines(computed, expected).min() >= 0.99999


def test_gpu_backends_compute_in_float32(tmp_path: Path) -> None:
    """Which activations stay within float16 is unknown."""
    tensors = {name: values.astype(np.float16) for name, values in load_file(LLAMA / "model.safetensors").items()}
    folder = copy_model(LLAMA, tmp_path / "model")
    save_file(tensors, folder / "model.safetensors")
    exact = forward(folder, replace(PACKED, dtype=mx.float32), MIXED)
    np.testing.assert_array_equal(forward(folder, PACKED, MIXED), exact)
