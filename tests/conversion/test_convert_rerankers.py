"""Conversion of rerankers: the same scores, complete folders, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from akidb_embeddings import RerankService
from akidb_embeddings.checkpoint.frame import DEFAULT_INSTRUCTION, has_frame
from akidb_embeddings.checkpoint.kinds import kind_of
from akidb_embeddings.checkpoint.reranker import read_reranker
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.conversion.convert import DTYPES, convert
from akidb_embeddings.diagnostics.score_quality import ScoreQuality
from akidb_embeddings.errors import CheckpointError, ConfigurationError, NonFiniteVectorError
from akidb_embeddings.registry import ModelSpec, RerankerSpec
from tests.checkpoint.test_dtypes import fp8, store_as
from tests.diagnostics.rerankers import known
from tests.fixtures import Array, copy_model, edit_json, long_but
from tests.golden.pairs import PAIRS
from tests.reranking.models import (
    ALL,
    BERT,
    LABELS,
    QWEN3,
    XLM_ROBERTA,
    add_crossencoder_files,
    folder,
)

# Those with rows of 32 numbers, the smallest group.
WIDE = (BERT, "tiny-roberta-reranker", "tiny-modernbert-reranker-cls", "tiny-qwen3-classifier", QWEN3)
CLASSIFIERS = tuple(name for name in WIDE if name != QWEN3)
HEADS = {
    BERT: ("pooler.dense", "classifier"),
    "tiny-roberta-reranker": ("classifier.dense", "classifier.out_proj"),
    "tiny-modernbert-reranker-cls": ("head.dense", "head.norm", "classifier"),
    "tiny-qwen3-classifier": ("score",),
}
SOME = [pair for pair in PAIRS[40:110:2] if any(pair)]


def logits(path: Path, **options: Any) -> Array:
    with RerankService(path) as service:
        return service.score_details(SOME, activation="identity", all_labels=True, **options).scores


def written(path: Path) -> dict[str, mx.array]:
    stored = mx.load(str(path / "model.safetensors"))
    assert isinstance(stored, dict)
    return stored


def in_head(name: str, model: str) -> bool:
    return any(f"{layer}." in name for layer in HEADS.get(model, ()))


def untied(path: Path) -> Path:
    """tiny-qwen3-reranker with an output layer of its own."""
    copy_model(QWEN3, path, tie_word_embeddings=False)
    tensors = load_file(path / "model.safetensors")
    [table] = [values for name, values in tensors.items() if name.endswith("embed_tokens.weight")]
    head = np.random.default_rng(3).standard_normal(table.shape).astype(np.float32)
    save_file(tensors | {"lm_head.weight": head}, path / "model.safetensors")
    return path


def unpacked(codes: NDArray[np.uint32], scales: Array, biases: Array, bits: int) -> Array:
    """What packed numbers stand for, by NumPy alone."""
    digits = np.unpackbits(codes.view(np.uint8), axis=1, bitorder="little").reshape(len(codes), -1, bits)
    values = digits @ (1 << np.arange(bits))
    group = values.shape[1] // scales.shape[1]
    result: Array = values * np.repeat(scales, group, axis=1) + np.repeat(biases, group, axis=1)
    return result.astype(np.float32)


def expanded(packed: Path, destination: Path) -> Path:
    """The folder with what its packed matrices stand for in their place."""
    copy_model(packed, destination, quantization=None, quantization_config=None)
    (destination / "model.safetensors.index.json").unlink()
    config = json.loads((packed / "config.json").read_text())["quantization"]
    stored, plain = load_file(packed / "model.safetensors"), {}
    for name, values in stored.items():
        layer, _, part = name.rpartition(".")
        if part == "weight" and f"{layer}.scales" in stored:
            bits = config.get(layer, config)["bits"]
            plain[name] = unpacked(values, stored[f"{layer}.scales"], stored[f"{layer}.biases"], bits)
        elif part not in ("scales", "biases"):
            plain[name] = values
    save_file(plain, destination / "model.safetensors")
    return destination


@pytest.mark.parametrize("name", ALL)
def test_without_quantization_the_scores_stay_to_the_bit(name: str, tmp_path: Path) -> None:
    result = convert(folder(name), tmp_path / "out", kind=RerankerSpec)
    before, after = read_reranker(folder(name)), read_reranker(result.path)
    assert result.tensors == len(after.tensors)
    for fact in ("labels", "activation", "answers", "framed", "max_tokens", "default_prompt"):
        assert getattr(after, fact) == getattr(before, fact)
    np.testing.assert_array_equal(logits(result.path, alone=True), logits(folder(name), alone=True))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_keep_the_names_that_transformers_reads(name: str, tmp_path: Path) -> None:
    """Otherwise it would take the encoder for missing, and make a random one."""
    result = convert(folder(name), tmp_path / "out")
    unused = {key for key in load_file(folder(name) / "model.safetensors") if key.endswith("position_ids")}
    assert set(written(result.path)) == set(load_file(folder(name) / "model.safetensors")) - unused


@pytest.mark.parametrize("name", long_but(WIDE, BERT, QWEN3))
@pytest.mark.parametrize(("bits", "mixed"), [(8, False), (4, False), (4, True)])
def test_quantized_scores_are_those_of_the_numbers_that_are_stored(
    name: str, bits: int, mixed: bool, tmp_path: Path
) -> None:
    result = convert(folder(name), tmp_path / "out", bits=bits, group_size=32, mixed=mixed, kind=RerankerSpec)
    found = logits(result.path)
    np.testing.assert_allclose(found, logits(expanded(result.path, tmp_path / "expanded")), atol=1e-4)
    assert np.abs(found - logits(folder(name))).max() > 1e-3
    assert result.quantized > 10
    assert result.kept == 0


@pytest.mark.parametrize(("bits", "mixed"), [(8, False), (4, True), (None, False)])
def test_the_answers_of_an_untied_language_model_are_a_table(bits: int | None, mixed: bool, tmp_path: Path) -> None:
    source = untied(tmp_path / "source")
    result = convert(source, tmp_path / "out", bits=bits, group_size=32, mixed=mixed, kind=RerankerSpec)
    assert "lm_head.weight" in written(result.path)
    assert ("lm_head.scales" in written(result.path)) == (bits is not None)
    config = json.loads((result.path / "config.json").read_text())
    if mixed:
        assert config["quantization"] == {
            "bits": 4,
            "group_size": 32,
            **{layer: {"bits": 8, "group_size": 32} for layer in ("lm_head", "model.embed_tokens")},
        }
    if bits:
        np.testing.assert_allclose(logits(result.path), logits(expanded(result.path, tmp_path / "expanded")), atol=1e-4)
    else:
        np.testing.assert_array_equal(logits(result.path, alone=True), logits(source, alone=True))


def test_the_unused_output_layer_of_a_tied_model_is_left_out(tmp_path: Path) -> None:
    source = untied(tmp_path / "source")
    edit_json(source / "config.json", tie_word_embeddings=True)
    assert "lm_head.weight" not in written(convert(source, tmp_path / "out", kind=RerankerSpec).path)


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [None, 4])
def test_a_classifiers_head_stays_as_it_is(name: str, dtype: str, bits: int | None, tmp_path: Path) -> None:
    result = convert(folder(name), tmp_path / "out", bits=bits, group_size=32, dtype=dtype, kind=RerankerSpec)
    source = load_file(folder(name) / "model.safetensors")
    heads = 0
    for key, values in written(result.path).items():
        if in_head(key, name):
            np.testing.assert_array_equal(np.array(values), source[key])
            assert values.dtype == mx.float32
            heads += 1
        else:
            assert values.dtype in (getattr(mx, dtype), mx.uint32)
    assert heads >= len(HEADS.get(name, ()))
    assert json.loads((result.path / "config.json").read_text())["dtype"] == dtype


@pytest.mark.long
@pytest.mark.parametrize("name", [BERT, QWEN3])
def test_scores_in_another_dtype_are_those_of_the_rounded_weights(name: str, tmp_path: Path) -> None:
    result = convert(folder(name), tmp_path / "out", dtype="bfloat16", kind=RerankerSpec)
    other = copy_model(name, tmp_path / "rounded")
    tensors = {}
    for key, values in load_file(other / "model.safetensors").items():
        is_rounded = values.dtype == np.float32 and not in_head(key, name)
        bits = values.view(np.uint32)
        even = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        tensors[key] = even.view(np.float32) if is_rounded else values
    save_file(tensors, other / "model.safetensors")
    np.testing.assert_allclose(logits(result.path), logits(other), atol=1e-5)
    assert np.abs(logits(result.path) - logits(folder(name))).max() > 1e-3


# The other files


def test_the_files_of_the_source_are_kept(tmp_path: Path) -> None:
    source = copy_model(QWEN3, tmp_path / "source")
    add_crossencoder_files(source)
    result = convert(source, tmp_path / "out", bits=8, group_size=32, spec=known(QWEN3, activation="sigmoid"))
    names = {path.relative_to(source) for path in source.rglob("*.*") if path.is_file()}
    for name in names - {Path("config.json"), Path("model.safetensors")}:
        assert (result.path / name).read_bytes() == (source / name).read_bytes()
    assert Path("chat_template.jinja") in names
    assert kind_of(result.path) is RerankerSpec


@pytest.mark.parametrize("name", [XLM_ROBERTA, "tiny-modernbert-reranker-cls", "tiny-qwen3-classifier"])
def test_what_only_the_registry_knows_of_a_classifier_is_written_down(name: str, tmp_path: Path) -> None:
    entry = known(name, activation="identity", max_tokens=99)
    convert(folder(name), tmp_path / "out", spec=entry)
    after = read_reranker(tmp_path / "out")
    assert (after.activation, after.max_tokens) == ("identity", 99)
    assert read_reranker(folder(name)).activation == "sigmoid"
    # sentence-transformers reads the activation only if there is modules.json, and then needs the task.
    assert json.loads((tmp_path / "out" / "modules.json").read_text())[0]["path"] == ""
    task = json.loads((tmp_path / "out" / "sentence_bert_config.json").read_text())
    assert (task["transformer_task"], task["max_seq_length"]) == ("sequence-classification", 99)
    description = json.loads((tmp_path / "out" / "config_sentence_transformers.json").read_text())
    assert description == {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity"}


@pytest.mark.parametrize("entry", [None, known(QWEN3, activation="identity", max_tokens=300, instruction="Find proof")])
def test_a_language_model_becomes_a_folder_that_says_what_it_is(entry: RerankerSpec | None, tmp_path: Path) -> None:
    convert(folder(QWEN3), tmp_path / "out", spec=entry, kind=RerankerSpec)
    before, after = read_reranker(folder(QWEN3), entry), read_reranker(tmp_path / "out")
    for fact in ("activation", "default_prompt", "max_tokens", "answers", "framed"):
        assert getattr(after, fact) == getattr(before, fact)
    assert after.default_prompt == (entry.instruction if entry else DEFAULT_INSTRUCTION)
    assert kind_of(folder(QWEN3)) is not RerankerSpec
    assert kind_of(tmp_path / "out") is RerankerSpec
    assert has_frame(after.folder, is_language_model=False)  # the template is Qwen3-Reranker's, to the byte
    assert [step.kind for step in after.folder.steps] == ["Transformer", "LogitScore"]


def test_the_folder_has_the_last_word_over_the_registry(tmp_path: Path) -> None:
    convert(folder(BERT), tmp_path / "out", spec=known(BERT, activation="sigmoid"))
    assert read_reranker(tmp_path / "out").activation == "identity"
    assert not (tmp_path / "out" / "modules.json").exists()


def test_other_prompts_of_a_folder_stay(tmp_path: Path) -> None:
    source = copy_model(QWEN3, tmp_path / "source")
    edit_json(source / "config_sentence_transformers.json", prompts={"query": "Find more", "proof": "Find proof"})
    convert(source, tmp_path / "out", spec=known(QWEN3, activation="identity", instruction="Find all"))
    after = read_reranker(tmp_path / "out")
    assert after.default_prompt == "Find all"
    assert {**after.prompts} == {"query": "Find more", "proof": "Find proof", "default": "Find all"}


# What is compared, and what is refused


@pytest.mark.long
@pytest.mark.parametrize("name", [BERT, QWEN3, LABELS])
def test_the_quality_is_measured(name: str, tmp_path: Path) -> None:
    quality = convert(folder(name), tmp_path / "same", kind=RerankerSpec, measure=True).quality
    assert isinstance(quality, ScoreQuality)
    assert quality.largest < 1e-5
    assert quality.in_order == quality.compared == (108 if name == LABELS else 36)
    if name != LABELS:
        losses = []
        for bits in (8, 4):
            found = convert(
                folder(name), tmp_path / str(bits), bits=bits, group_size=32, kind=RerankerSpec, measure=True
            ).quality
            assert isinstance(found, ScoreQuality)
            losses.append((found.compared - found.in_order, found.largest))
        assert losses[0] < losses[1]
        assert losses[0][1] > 0.01


@pytest.mark.parametrize("measure", [False, True])
def test_a_head_with_nan_is_refused(measure: bool, tmp_path: Path) -> None:
    source = copy_model(BERT, tmp_path / "model")
    tensors = load_file(source / "model.safetensors")
    tensors["classifier.bias"] = np.array([np.nan], dtype=np.float32)
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"classifier\.bias has NaN or infinity"):
        convert(source, tmp_path / "out", dtype="float16", measure=measure)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_that_does_not_compute_leaves_nothing(tmp_path: Path) -> None:
    source = copy_model(BERT, tmp_path / "model")
    tensors = load_file(source / "model.safetensors")
    tensors["classifier.weight"][:] = 3e38
    tensors["classifier.bias"][:] = 3e38
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(NonFiniteVectorError):
        convert(source, tmp_path / "out", measure=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_is_refused(tmp_path: Path) -> None:
    packed = convert(folder(BERT), tmp_path / "packed", bits=8, group_size=32).path
    with pytest.raises(CheckpointError, match="already quantized"):
        convert(packed, tmp_path / "out", bits=4)
    with pytest.raises(CheckpointError, match="group_size is 128, but no matrix"):
        convert(folder(BERT), tmp_path / "out", bits=4, group_size=128)
    large = copy_model(QWEN3, tmp_path / "large", hidden_size=2048)
    with pytest.raises((ConfigurationError, CheckpointError)):
        convert(large, tmp_path / "out", dtype="float16", kind=RerankerSpec)
    with pytest.raises(CheckpointError, match="is a reranker"):
        convert(folder(BERT), tmp_path / "out", kind=ModelSpec)
    with pytest.raises(CheckpointError, match="is no reranker"):
        convert(folder("tiny-bert"), tmp_path / "out", kind=RerankerSpec)
    assert not (tmp_path / "out").exists()


def test_weights_in_8_bit_floats_are_refused(tmp_path: Path) -> None:
    source = copy_model("tiny-distilbert-reranker", tmp_path / "model")
    store_as(source / "model.safetensors", "F8_E4M3", "distilbert.transformer.layer.0.ffn.lin1.weight", fp8)
    with pytest.raises(CheckpointError, match="as F8_E4M3; allowed: F32, F16, BF16"):
        convert(source, tmp_path / "out", bits=8)
