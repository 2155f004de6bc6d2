"""What is read from a model folder, and that other layouts of the same model give the same vectors."""

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint import read_checkpoint
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import MODELS
from tests.fixtures import BUNDLED, Array, copy_model, cosines, edit_json, golden, model_path
from tests.golden.texts import TEXTS

SHORT = [index for index, text in enumerate(TEXTS) if len(text) < 1500]


def vectors(folder: Path) -> Array:
    with EmbeddingService(str(folder)) as service:
        return service.embed([TEXTS[index] for index in SHORT])


def assert_golden(folder: Path, name: str) -> None:
    assert cosines(vectors(folder), golden(name)["texts"][SHORT]).min() >= 0.99999


@pytest.mark.parametrize("name", ["tiny-qwen3", "tiny-gemma3"])
def test_config_of_transformers_4_means_the_same(tmp_path: Path, name: str) -> None:
    folder = copy_model(name, tmp_path / "model")
    shutil.move(folder / "config.legacy.json", folder / "config.json")
    assert_golden(folder, name)


def test_window_that_was_halved_already(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    shutil.copyfile(model_path("tiny-gemma3-odd") / "config.json", folder / "config.json")
    assert read_checkpoint(folder).config["sliding_window"] == 33
    assert_golden(folder, "tiny-gemma3")


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-qwen3", "tiny-gemma3"])
def test_names_with_a_prefix(tmp_path: Path, name: str) -> None:
    folder = copy_model(name, tmp_path / "model")
    prefix = "bert." if name == "tiny-bert" else "model."
    tensors = load_file(folder / "model.safetensors")
    save_file({f"{prefix}{key}": values for key, values in tensors.items()}, folder / "model.safetensors")
    assert_golden(folder, name)


@pytest.mark.parametrize("name", ["tiny-qwen3", "tiny-gemma3"])
def test_sharded_weights(tmp_path: Path, name: str) -> None:
    folder = copy_model(name, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards: dict[str, dict[str, Array]] = {
        "model-00001-of-00002.safetensors": {},
        "model-00002-of-00002.safetensors": {},
    }
    for index, (key, values) in enumerate(sorted(tensors.items())):
        shards[list(shards)[index % 2]][key] = values
    for file, part in shards.items():
        save_file(part, folder / file)
    weight_map = {key: file for file, part in shards.items() for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_golden(folder, name)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002"):
        read_checkpoint(folder)


@pytest.mark.parametrize("dropped", [["eos"], ["1_Pooling"], ["eos", "1_Pooling", "modules.json"]])
def test_qwen3_without_its_end_token_or_pooling_file(tmp_path: Path, dropped: list[str]) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    if "eos" in dropped:
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        assert "TemplateProcessing" in json.dumps(tokenizer["post_processor"])
        edit_json(folder / "tokenizer.json", post_processor={"type": "ByteLevel", "add_prefix_space": False,
                                                             "trim_offsets": False, "use_regex": False})  # fmt: skip
    if "1_Pooling" in dropped:
        shutil.rmtree(folder / "1_Pooling")
    if "modules.json" in dropped:
        (folder / "modules.json").unlink()
    assert_golden(folder, "tiny-qwen3")


def test_dense_layers_from_folders_without_modules_json(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    (folder / "modules.json").unlink()
    assert_golden(folder, "tiny-gemma3")


def test_dense_layers_among_the_weights_with_modules_json_but_no_folders(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    for index, name in enumerate(["2_Dense", "3_Dense"]):
        tensors[f"dense.{index}.weight"] = load_file(folder / name / "model.safetensors")["linear.weight"]
        shutil.rmtree(folder / name)
    save_file(tensors, folder / "model.safetensors")
    assert_golden(folder, "tiny-gemma3")


def test_half_precision_weights_are_computed_in_float32(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    save_file({key: values.astype(np.float16) for key, values in tensors.items()}, folder / "model.safetensors")
    assert cosines(vectors(folder), golden("tiny-bert")["texts"][SHORT]).min() >= 0.9999


def test_what_the_bundled_model_says() -> None:
    checkpoint = read_checkpoint(BUNDLED, MODELS["minilm-l6-v2"])
    assert (checkpoint.pooling, checkpoint.normalize, checkpoint.dimension) == ("mean", True, 384)
    assert checkpoint.max_tokens == 256  # not tokenizer.json's 128, nor tokenizer_config.json's 512
    assert checkpoint.quantization["bits"] == 8


def test_prompts_of_the_folder_come_before_the_registry(tmp_path: Path) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    spec = replace(MODELS["bge-small-en-v1.5"], dimension=32, prompts={"query": "registry: "})
    assert read_checkpoint(folder, spec).prompts["query"].startswith("Instruct: ")
    named_otherwise = replace(spec, prompts={"clustering": "cluster: "})
    assert read_checkpoint(folder, named_otherwise).prompts.keys() == {"query", "document", "clustering"}
    (folder / "config_sentence_transformers.json").unlink()
    assert read_checkpoint(folder, spec).prompts == {"query": "registry: "}
    assert read_checkpoint(folder).prompts == {}


def test_an_empty_prompt_of_the_folder_does_not_displace_the_registrys(tmp_path: Path) -> None:
    """sentence-transformers 5 writes empty ones for every model that it saves without prompts."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"query": "", "document": "", "other": ""})
    spec = replace(MODELS["multilingual-e5-small"], dimension=32)
    assert read_checkpoint(folder, spec).prompts == {"query": "query: ", "document": "passage: ", "other": ""}
    assert read_checkpoint(folder).prompts == {"query": "", "document": "", "other": ""}


def test_default_prompt_name_precedes_plain_texts(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"p": "the of "}, default_prompt_name="p")
    with EmbeddingService(str(folder)) as service, EmbeddingService(str(model_path("tiny-bert"))) as plain:
        np.testing.assert_array_equal(service.embed(["cat"]), plain.embed(["the of cat"]))
        np.testing.assert_array_equal(service.encode(["cat"], prompt="").vectors, plain.embed(["cat"]))


def test_a_model_without_normalize_is_normalized_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Equal configurations give equal vectors, whether a value was given or is the default."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([m for m in modules if not m["type"].endswith("Normalize")]))
    with EmbeddingService(str(folder)) as service:
        assert abs(np.linalg.norm(service.embed(["cat"])) - 1) < 1e-6
    assert "set normalize to False" in caplog.text.replace("Set", "set")
    with EmbeddingService(str(folder), normalize=False) as service:
        assert abs(np.linalg.norm(service.embed(["cat"])) - 1) > 0.1


def test_digest_sees_contents_and_not_the_place(tmp_path: Path) -> None:
    one, two = copy_model("tiny-bert", tmp_path / "one"), copy_model("tiny-bert", tmp_path / "two")
    (two / "README.md").write_text("a note")
    (two / "akidb.json").write_text("{}")
    (two / "SOURCE.json").write_text("{}")
    assert read_checkpoint(one).digest == read_checkpoint(two).digest
    edit_json(two / "1_Pooling" / "config.json", note=1)
    assert read_checkpoint(one).digest != read_checkpoint(two).digest


def test_architectures_that_are_not_supported(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model", model_type="t5")
    with pytest.raises(CheckpointError, match=r"'t5'; supported: bert, xlm-roberta, .*, gemma3_text"):
        read_checkpoint(folder)


def test_another_dimension_than_the_registry_names_both(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"32 dimensions, but minilm-l6-v2 has 384"):
        read_checkpoint(model_path("tiny-bert"), MODELS["minilm-l6-v2"])
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rope_parameters", {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}, "rope_type to 'yarn'"),
        ("rope_scaling", {"type": "linear", "factor": 8.0}, "rope_type to 'linear'"),
        ("use_sliding_window", True, "use_sliding_window to True"),
        ("hidden_act", "gelu", "hidden_act to 'gelu'"),
        ("head_dim", None, "lacks 'head_dim'"),
        ("is_causal", False, "is_causal to False"),
        (
            "layer_types",
            ["full_attention", "sliding_attention", "full_attention"],
            "layer_types to 'sliding_attention'",
        ),
        ("rope_parameters", None, "lacks 'rope_theta'"),
        ("rope_parameters", [1], "rope_parameters as"),
        ("vocab_size", None, "vocab_size as None"),
        ("auto_map", {"AutoModel": "modeling.Custom"}, "auto_map"),
        ("quantization", 4, "quantization as 4"),
    ],
)
def test_settings_the_forward_pass_does_not_implement(tmp_path: Path, key: str, value: object, message: str) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    edit_json(folder / "config.json", **{key: value})
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(folder))


@pytest.mark.parametrize("file", ["config.json", "modules.json", "1_Pooling/config.json", "tokenizer.json"])
def test_damaged_json_is_named(tmp_path: Path, file: str) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / file).write_text("{")
    with pytest.raises(CheckpointError, match=file.replace(".", r"\.")):
        EmbeddingService(str(folder))


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("tiny-bert", "is_decoder", True, "is_decoder to True"),
        ("tiny-bert", "num_attention_heads", 5, "not divisible by 5"),
        ("tiny-bert", "position_embedding_type", "relative_key", "relative_key"),
        ("tiny-gemma3-causal", "is_causal", False, "is_causal to False"),
        ("tiny-gemma3", "layer_types", ["chunked_attention"] * 6, "'chunked_attention'"),
    ],
)
def test_settings_of_other_architectures(tmp_path: Path, name: str, key: str, value: object, message: str) -> None:
    folder = copy_model(name, tmp_path / "model")
    edit_json(folder / "config.json", **{key: value})
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(folder))


def test_the_dimension_that_the_authors_cut_to(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", truncate_dim=8)
    with EmbeddingService(str(folder)) as service, EmbeddingService(str(folder), dimensions=32) as told:
        assert (service.dimension, told.dimension) == (8, 32)


@pytest.mark.parametrize(
    ("config", "description", "registered", "trained"),
    [
        ({}, {}, (), set()),
        ({}, {}, (16, 8), {8, 16}),
        ({}, {}, range(8, 33), set(range(8, 33))),
        ({}, {"truncate_dim": 4}, (), {4}),
        ({}, {"truncate_dim": 4}, (16,), {4, 16}),
        ({"matryoshka_dimensions": [16, 8]}, {}, (24,), {8, 16}),
        ({"matryoshka_dimensions": [16, 8], "is_matryoshka": True}, {"truncate_dim": 4}, (), {4, 8, 16}),
        ({"is_matryoshka": True}, {}, (16,), {16}),
        ({"is_matryoshka": True}, {}, (), set(range(1, 33))),
        ({"is_matryoshka": True, "matryoshka_minimum": 8}, {"truncate_dim": 4}, (), {4, *range(8, 33)}),
        ({"is_matryoshka": False}, {}, (16,), {16}),
    ],
)
def test_the_lengths_that_vectors_were_trained_for(
    tmp_path: Path, config: dict[str, Any], description: dict[str, Any], registered: Any, trained: set[int]
) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model", **config)
    edit_json(folder / "config_sentence_transformers.json", **description)
    spec = dataclasses.replace(MODELS["minilm-l6-v2"], dimension=32, matryoshka=registered)
    assert set(read_checkpoint(folder, spec).matryoshka) == trained
    if not registered:
        assert set(read_checkpoint(folder).matryoshka) == trained


@pytest.mark.parametrize("value", [8, "8", [8, 0], [8.0], [True], {"8": 1}])
def test_lengths_that_are_none(tmp_path: Path, value: object) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model", matryoshka_dimensions=value)
    with pytest.raises(CheckpointError, match=r"matryoshka_dimensions as .*; it must list lengths"):
        read_checkpoint(folder)


def test_the_registry_names_the_query_prompt_that_the_folder_calls_otherwise(tmp_path: Path) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"web_search_query": "Search: ", "document": "d: "})
    spec = dataclasses.replace(
        MODELS["minilm-l6-v2"], dimension=32, prompts={"query": "Search: ", "document": "registry: "}
    )
    assert read_checkpoint(folder, spec).prompts == {
        "web_search_query": "Search: ",
        "document": "d: ",
        "query": "Search: ",
    }


def test_a_default_prompt_that_does_not_exist(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"a": "b"}, default_prompt_name="c")
    with pytest.raises(CheckpointError, match="default_prompt_name is 'c', but the prompts are a"):
        read_checkpoint(folder)


def test_an_adapter_is_not_taken_for_its_model(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="adapter"):
        read_checkpoint(folder)


def test_a_tensor_that_is_there_twice(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = "embeddings.LayerNorm.weight"
    save_file({**tensors, f"bert.{name}": tensors[name]}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"embeddings\.LayerNorm\.weight twice"):
        read_checkpoint(folder)
