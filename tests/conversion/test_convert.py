"""Conversion: the layout, what is quantized, and what is refused."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.settings import apply_config
from akidb_embeddings.compute.backend import cpu
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.conversion.convert import DTYPES, convert
from akidb_embeddings.diagnostics import quality
from akidb_embeddings.errors import CheckpointError, ConfigurationError, NonFiniteVectorError
from akidb_embeddings.registry import ModelSpec
from tests.conftest import run_python
from tests.fixtures import copy_model, cosines, edit_json, forward, golden, model_path
from tests.golden.texts import QUERIES, TEXTS
from tests.random_models import BERT, CONFIGS, QWEN3, random_model

SHORT = [index for index, text in enumerate(TEXTS) if len(text) < 1500]


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-qwen3", "tiny-gemma3"])
def test_without_quantization_the_vectors_stay(tmp_path: Path, name: str) -> None:
    convert(model_path(name), tmp_path / "out")
    with EmbeddingService(str(tmp_path / "out")) as service:
        result = service.encode([TEXTS[index] for index in SHORT])
        prompts = service.settings.prompts
    assert cosines(result.vectors, golden(name)["texts"][SHORT]).min() >= 0.99999
    with EmbeddingService(str(model_path(name))) as service:
        assert prompts == service.settings.prompts


def test_layout_of_mlx_community(tmp_path: Path) -> None:
    result = convert(model_path("tiny-qwen3"), tmp_path / "out", bits=4, group_size=32)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization"] == config["quantization_config"] == {"group_size": 32, "bits": 4}
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert all(name.startswith("model.") for name in tensors)
    assert tensors["model.layers.0.self_attn.q_proj.weight"].dtype == np.uint32
    assert "model.embed_tokens.scales" in tensors
    assert "model.norm.scales" not in tensors
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"tokenizer.json", "modules.json", "1_Pooling"}
    assert result.quantized == sum(name.endswith(".scales") for name in tensors)
    assert result.size_bytes == (tmp_path / "out" / "model.safetensors").stat().st_size


def test_a_missing_final_token_is_written_into_the_tokenizer(tmp_path: Path) -> None:
    """The converted folder is complete, so that its tokenizer decides alone."""
    folder = copy_model("tiny-qwen3", tmp_path / "source")
    edit_json(folder / "tokenizer.json", post_processor=None)
    (folder / "modules.json").unlink()
    convert(folder, tmp_path / "out")
    shutil.copy(model_path("tiny-qwen3") / "modules.json", tmp_path / "out")
    with EmbeddingService(str(tmp_path / "out")) as service:
        vectors = service.encode([TEXTS[index] for index in SHORT]).vectors
    assert cosines(vectors, golden("tiny-qwen3")["texts"][SHORT]).min() >= 0.99999


def test_tokens_beside_tokenizer_json_are_copied(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "source")
    edit_json(folder / "special_tokens_map.json", additional_special_tokens=["the"])
    edit_json(folder / "added_tokens.json", that=300)
    convert(folder, tmp_path / "out")
    for name in ("special_tokens_map.json", "added_tokens.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def test_unused_heads_are_left_out(tmp_path: Path) -> None:
    convert(model_path("tiny-bert"), tmp_path / "out")
    assert not [name for name in load_file(tmp_path / "out" / "model.safetensors") if name.startswith("pooler")]


@pytest.mark.parametrize(
    ("bits", "group_size", "message"), [(5, 48, "group_size is 48"), (7, 64, "bits is 7"), (1, 64, "bits is 1")]
)
def test_values_that_are_not_allowed(tmp_path: Path, bits: int, group_size: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        convert(model_path("tiny-bert"), tmp_path / "out", bits=bits, group_size=group_size)


def test_an_existing_destination_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(ConfigurationError, match="already exists"):
        convert(model_path("tiny-bert"), tmp_path)
    assert (tmp_path / "precious").read_text() == "data"


def test_a_quantized_source_is_refused(tmp_path: Path) -> None:
    random_model(tmp_path / "model", QWEN3)
    convert(tmp_path / "model", tmp_path / "once", bits=4, group_size=32)
    with pytest.raises(CheckpointError, match="already quantized"):
        convert(tmp_path / "once", tmp_path / "twice", bits=8)


@pytest.mark.parametrize("name", ["tiny-voyage", "tiny-qwen2-bidirec"])
def test_a_layer_after_the_decoder_and_biases_are_converted(tmp_path: Path, name: str) -> None:
    convert(model_path(name), tmp_path / "out", bits=8, group_size=32)
    expected = forward(model_path(name), cpu(), QUERIES)
    assert cosines(forward(tmp_path / "out", cpu(), QUERIES), expected).min() >= 0.999


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"group_size is 128, but no matrix of .* has rows divisible by it"):
        convert(model_path("tiny-gemma3"), tmp_path / "out", bits=4, group_size=128)
    assert list(tmp_path.iterdir()) == []


def load_config(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CONFIGS)
def test_mixed_keeps_the_token_embeddings_of_every_architecture_at_8_bits(tmp_path: Path, name: str) -> None:
    source = random_model(tmp_path / "model", CONFIGS[name])
    result = convert(source, tmp_path / "out", bits=4, mixed=True, measure=True)
    quantization = load_config(tmp_path / "out")["quantization"]
    [(table, entry)] = [(key, value) for key, value in quantization.items() if isinstance(value, dict)]
    assert entry == {"group_size": 64, "bits": 8}
    assert (quantization["bits"], quantization["group_size"]) == (4, 64)
    words = load_config(source)["vocab_size"]
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    width = tensors[f"{table}.scales"].shape[1] * 64
    assert tensors[f"{table}.weight"].shape == (words, width * 8 // 32)
    assert isinstance(result.quality, quality.Quality)
    assert result.quality.mean > 0.5


def test_mixed_is_named_as_mlx_lm_names_layers(tmp_path: Path) -> None:
    convert(random_model(tmp_path / "model", QWEN3), tmp_path / "out", bits=4, mixed=True)
    assert load_config(tmp_path / "out")["quantization"] == {
        "group_size": 64,
        "bits": 4,
        "model.embed_tokens": {"group_size": 64, "bits": 8},
    }


@pytest.mark.parametrize("bits", [None, 8])
def test_mixed_needs_fewer_bits_for_the_rest(tmp_path: Path, bits: int | None) -> None:
    with pytest.raises(ConfigurationError, match=f"Set bits, which is {bits}, to one of 2, 3, 4, 5, 6"):
        convert(model_path("tiny-bert"), tmp_path / "out", bits=bits, mixed=True)


def test_mixed_of_a_model_whose_table_is_not_known(tmp_path: Path) -> None:
    source = random_model(tmp_path / "model", BERT)
    tensors = load_file(source / "model.safetensors")
    tensors["embeddings.lexicon.weight"] = tensors.pop("embeddings.word_embeddings.weight")
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(CheckpointError, match="no table of token embeddings with a known name"):
        convert(source, tmp_path / "out", bits=4, mixed=True)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [None, 4])
def test_what_is_not_quantized_has_the_dtype(tmp_path: Path, name: str, dtype: str, bits: int | None) -> None:
    source = random_model(tmp_path / "model", CONFIGS[name])
    checkpoint = read_checkpoint(source)
    if dtype == "float16" and not checkpoint.architecture.float16(checkpoint.config):
        with pytest.raises(ConfigurationError, match="overflow it"):
            convert(source, tmp_path / "out", bits=bits, dtype=dtype)
        return
    convert(source, tmp_path / "out", bits=bits, dtype=dtype)
    stored = mx.load(str(tmp_path / "out" / "model.safetensors"))
    assert isinstance(stored, dict)
    assert {array.dtype for array in stored.values()} == {getattr(mx, dtype)} | ({mx.uint32} if bits else set())
    assert load_config(tmp_path / "out")["torch_dtype"] == dtype


def test_the_keys_of_config_that_tell_the_dtype_follow(tmp_path: Path) -> None:
    for key in ("dtype", "torch_dtype"):
        source = copy_model("tiny-bert", tmp_path / key, dtype=None, torch_dtype=None) / "config.json"
        edit_json(source, **{key: "float32"})
        convert(source.parent, tmp_path / f"{key}-out", dtype="bfloat16")
        config = load_config(tmp_path / f"{key}-out")
        assert {key: config[key] for key in ("dtype", "torch_dtype") if key in config} == {key: "bfloat16"}


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (1e6, "float16", "encoder.layer.1.output.dense.bias has values up to 1e.06, which overflow float16"),
        (float("nan"), "float16", "encoder.layer.1.output.dense.bias has NaN or infinity"),
        (float("inf"), None, "encoder.layer.1.output.dense.bias has NaN or infinity"),
    ],
)
def test_a_weight_that_is_no_finite_number_is_named(
    tmp_path: Path, value: float, dtype: str | None, message: str
) -> None:
    source = random_model(tmp_path / "model", BERT)
    tensors = load_file(source / "model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][3] = value
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        convert(source, tmp_path / "out", dtype=dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_matrices_that_do_not_divide_into_groups_are_counted(tmp_path: Path) -> None:
    source = random_model(tmp_path / "model", {**BERT, "intermediate_size": 96})
    result = convert(source, tmp_path / "out", bits=4)
    assert result.kept == 2  # the second matrix of each MLP
    assert convert(source, tmp_path / "other", bits=4, group_size=32).kept == 0


def spec(**facts: Any) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        repo="org/tiny",
        architecture="",
        weights="float32",
        license="MIT",
        size_bytes=1,
        description="",
        **{"dimension": 64, **facts},
    )


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_what_only_the_registry_knows_is_written_down(tmp_path: Path, name: str, pooling: str) -> None:
    source = random_model(tmp_path / "model", CONFIGS[name])
    shutil.rmtree(source / "1_Pooling", ignore_errors=True)
    entry = spec(pooling=pooling, max_tokens=99, prompts={"query": "find: ", "document": ""}, matryoshka=(32, 16))
    convert(source, tmp_path / "out", spec=entry)
    before, after = read_checkpoint(source, entry), read_checkpoint(tmp_path / "out")
    assert apply_config(EmbeddingConfig(), after) == apply_config(EmbeddingConfig(), before)
    assert (after.pooling, after.max_tokens, after.prompts["query"]) == (pooling, 99, "find: ")
    assert after.normalize
    config = load_config(tmp_path / "out")
    assert (config["is_matryoshka"], config["matryoshka_dimensions"]) == (True, [32, 16])


def test_dense_layers_keep_their_place_in_a_list_of_modules_that_is_written(tmp_path: Path) -> None:
    source = copy_model("tiny-gemma3", tmp_path / "model")
    shutil.rmtree(source / "1_Pooling")
    (source / "modules.json").unlink()
    checkpoint = read_checkpoint(source)
    entry = dataclasses.replace(spec(pooling="cls"), dimension=checkpoint.dimension)
    convert(source, tmp_path / "out", spec=entry)
    after = read_checkpoint(tmp_path / "out")
    assert (after.pooling, after.dense, after.normalize) == ("cls", checkpoint.dense, True)
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Dense", "3_Dense", "4_Normalize"]


def test_the_folder_has_the_last_word_over_the_registry(tmp_path: Path) -> None:
    source = model_path("tiny-bert")
    entry = dataclasses.replace(spec(pooling="cls", max_tokens=7, prompts={"query": "other "}), dimension=32)
    convert(source, tmp_path / "out", spec=entry)
    for name in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()


def test_a_range_of_dimensions_is_said_in_a_word(tmp_path: Path) -> None:
    convert(random_model(tmp_path / "model", QWEN3), tmp_path / "out", spec=spec(matryoshka=range(32, 1025)))
    config = load_config(tmp_path / "out")
    assert config["is_matryoshka"] is True
    assert "matryoshka_dimensions" not in config
    assert set(read_checkpoint(tmp_path / "out").matryoshka) == set(range(32, 65))


def test_a_layer_norm_before_the_cut_is_not_lost(tmp_path: Path) -> None:
    source = copy_model("tiny-nomic-bert", tmp_path / "model", matryoshka_dimensions=[16])
    entry = spec(dimension=32, matryoshka=(16, 8), matryoshka_layer_norm=True)
    convert(source, tmp_path / "out", spec=entry)
    after = read_checkpoint(tmp_path / "out")
    assert (set(after.matryoshka), after.matryoshka_layer_norm) == ({16}, True)


def test_without_the_registry_nothing_is_added(tmp_path: Path) -> None:
    convert(random_model(tmp_path / "model", QWEN3), tmp_path / "out")
    assert not (tmp_path / "out" / "modules.json").exists()


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        assert list(tmp_path.glob("*/*/model.safetensors"))
        raise KeyboardInterrupt

    monkeypatch.setattr(quality, "compare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(model_path("tiny-bert"), tmp_path / "out", measure=True)
    assert list(tmp_path.iterdir()) == []


def test_other_folders_beside_the_new_one_stay(tmp_path: Path) -> None:
    mine = tmp_path / "out.partial" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    convert(model_path("tiny-bert"), tmp_path / "out")
    assert mine.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.partial"}
    assert (tmp_path / "out").stat().st_mode == mine.parent.stat().st_mode


@pytest.mark.parametrize("kind", ["here", "link", "dangling link"])
def test_an_empty_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    if kind != "dangling link":
        folder.mkdir()
    if kind == "here":
        monkeypatch.chdir(folder)
    else:
        link.symlink_to(folder)
    destination = Path(".") if kind == "here" else link
    assert convert(model_path("tiny-bert"), destination).path == destination
    read_checkpoint(folder)
    assert not list(folder.glob("akidb-convert-*"))
    assert link.is_symlink() == (kind != "here")


def test_an_empty_folder_stays_empty_if_its_files_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def interrupt(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if target.name == "config.json":
            raise KeyboardInterrupt
        return moved

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(model_path("tiny-bert"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_files_that_came_during_the_conversion_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(quality, "compare", lambda *_: (out / "config.json").write_text("mine"))
    with pytest.raises(CheckpointError, match="not empty"):
        convert(model_path("tiny-bert"), out, measure=True)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("config.json", "mine")]


def test_a_model_that_does_not_compute_leaves_nothing(tmp_path: Path) -> None:
    source = random_model(tmp_path / "model", BERT)
    tensors = load_file(source / "model.safetensors")
    tensors["encoder.layer.1.output.LayerNorm.weight"] *= np.float32(1e38)
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(NonFiniteVectorError):
        convert(source, tmp_path / "out", measure=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from akidb_embeddings.conversion.convert import convert\n"
        "from akidb_embeddings.errors import CheckpointError\n"
        "import akidb_embeddings.compute.runtime\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: convert(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except CheckpointError as error: print(error)"
    )
    shown = run_python(code, str(model_path("tiny-bert")), str(tmp_path / "out"))
    assert "out cannot be written: " in shown
    assert "Free some space" in shown
    assert list(tmp_path.iterdir()) == []
