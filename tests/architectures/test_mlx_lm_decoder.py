"""Decoders through mlx-lm: transformers' vectors, however they are stored, and what is refused or said of the rest."""

import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.architectures import ARCHITECTURES
from akidb_embeddings.architectures.mlx_lm_decoder import Decoder, _probe
from akidb_embeddings.backend import cpu, metal
from akidb_embeddings.checkpoint import read_checkpoint
from akidb_embeddings.convert import convert
from akidb_embeddings.errors import CheckpointError, ConfigurationError
from akidb_embeddings.runtime import mx
from tests.conftest import run_python
from tests.fixtures import Array, copy_model, cosines, edit_json, forward, golden, model_path
from tests.golden.texts import DOCUMENTS, QUERIES, TEXTS, counted_text
from tests.random_models import quantize_folder

LLAMA = model_path("tiny-llama")
SHORT = [index for index, text in enumerate(TEXTS) if len(text) < 1500]
MIXED = ["a", *(counted_text(n) for n in (3, 15, 16, 17, 40, 100)), "Mixed lengths, Ünïcode and more."]
PACKED = metal(mx.Device(mx.cpu))
BACKENDS = {"cpu": cpu("fast"), "cpu-compact": cpu("compact"), "metal": PACKED}


def vectors(folder: Path, texts: Sequence[str], **options: Any) -> Array:
    with EmbeddingService(str(folder), **options) as service:
        return service.embed(texts)


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
    monkeypatch.setattr("akidb_embeddings.architectures.choice.ARCHITECTURES", others)
    folder = copy_model(name, tmp_path / "model")
    if name == "tiny-gemma3-causal":  # the defaults, which mlx-lm reads in transformers 4's keys only
        edit_json(folder / "config.json", rope_parameters=None)
    with EmbeddingService(str(folder), max_tokens=32) as service:
        assert service.checkpoint.architecture.through.startswith("mlx-lm ")
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


def test_a_tensor_nobody_uses_and_one_that_lacks_are_named(tmp_path: Path) -> None:
    folder = copy_model(LLAMA, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "model.layers.0.gate.weight": np.ones((2, 2), np.float32)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"does not use: model\.layers\.0\.gate\.weight"):
        EmbeddingService(str(folder))
    for name in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight"):
        save_file({key: values for key, values in tensors.items() if key != name}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"lacks the tensor {name}"):
            EmbeddingService(str(folder))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"is_causal": False}, "is_causal to False.*causal attention only"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention to True"),
        ({"architectures": ["LlamaBidirectionalModel"]}, "names LlamaBidirectionalModel"),
        ({"auto_map": {"AutoModel": "modeling.Custom"}}, "auto_map"),
        ({"text_config": {}}, "more than text"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "quantized by 'awq'"),
        ({"num_attention_heads": None}, "llama cannot be built from config.json.*num_attention_heads"),
        ({"hidden_size": None}, "hidden_size as None"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "'longrope'"),
        ({"rope_scaling": {"rope_type": "unheard of", "factor": 2.0}}, "unheard of"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}, "sliding_attention": {}}}, "by layer type"),
        ({"hidden_act": "relu2"}, "hidden_act to 'relu2'.*'silu', 'swish'"),
        (
            {
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
                "rope_scaling": {"rope_type": "linear", "factor": 4},
            },
            "rope_parameters as .* and rope_scaling as .*; they disagree",
        ),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor to 0.5, which mlx-lm's llama does not read"),
        ({"model_type": "jamba", "num_experts": 4}, "jamba gives other vectors.*num_experts is 4"),
        ({"model_type": "gpt_oss", "layer_types": 3}, "gpt_oss cannot be built"),
    ],
)
def test_what_mlx_lm_would_compute_wrongly_is_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    folder = copy_model(LLAMA, tmp_path / "model", **entries)
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(folder))


def test_cls_pooling_is_refused_and_an_unknown_one_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"pooling is 'cls'; this llama model.*allows mean or last"):
        EmbeddingService(str(LLAMA), pooling="cls")
    folder = copy_model(LLAMA, tmp_path / "model")
    edit_json(folder / "1_Pooling" / "config.json", pooling_mode_lasttoken=False, pooling_mode_cls_token=True)
    with pytest.raises(CheckpointError, match=r"asks for cls pooling.*mean or last"):
        read_checkpoint(folder)
    shutil.rmtree(folder / "1_Pooling")
    (folder / "modules.json").unlink()
    with pytest.raises(ConfigurationError, match="Set pooling to mean or last, as"):
        EmbeddingService(str(folder))
    np.testing.assert_array_equal(vectors(folder, MIXED, pooling="last"), vectors(LLAMA, MIXED))


def states(peek: bool) -> Any:
    """A decoder of which each token sees those before it, and all of them if it may ``peek``."""

    def module(ids: mx.array, cache: None) -> mx.array:
        x = ids[..., None] * mx.array([0.5, 1.0, 2.0])
        return mx.cumsum(x, axis=1) + (x.sum(axis=1, keepdims=True) if peek else 0)

    return module


def test_a_decoder_whose_tokens_see_what_follows_is_refused() -> None:
    config = {"hidden_size": 3, "vocab_size": 100}
    _probe(Decoder(states(peek=False)), config, "it")
    with pytest.raises(CheckpointError, match="tokens see what follows"):
        _probe(Decoder(states(peek=True)), config, "it")
    with pytest.raises(CheckpointError, match=r"\(2, 16, 3\).*of size 4"):
        _probe(Decoder(states(peek=False)), config | {"hidden_size": 4}, "it")


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
        assert "mlx-lm's mimo is none of the architectures" in caplog.text
        caplog.clear()
        expected = vectors(LLAMA, MIXED)
    assert "none of the architectures" not in caplog.text
    assert cosines(computed, expected).min() >= 0.99999


def test_convert_leaves_them_to_mlx_lm(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"through mlx-lm .*mlx_lm\.convert"):
        convert(LLAMA, tmp_path / "out", bits=4)
    assert not (tmp_path / "out").exists()


def test_gpu_backends_compute_in_float32(tmp_path: Path) -> None:
    """Which activations stay within float16 is unknown."""
    tensors = {name: values.astype(np.float16) for name, values in load_file(LLAMA / "model.safetensors").items()}
    folder = copy_model(LLAMA, tmp_path / "model")
    save_file(tensors, folder / "model.safetensors")
    exact = forward(folder, replace(PACKED, dtype=mx.float32), MIXED)
    np.testing.assert_array_equal(forward(folder, PACKED, MIXED), exact)
