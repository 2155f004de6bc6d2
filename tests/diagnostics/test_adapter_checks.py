"""Checks of a model with an adapter: right ones pass, and each way in which one has no or another effect is found."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings.checkpoint.adapter_config import AdapterConfig
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.diagnostics.verify import verify
from akidb_embeddings.engine import forward_pass
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry import BUNDLED
from tests.fixtures import adapter_path, copy_model, edit_json, model_path
from tests.outputs import fitting_adapter


def failed(base: str = "tiny-bert", adapter: Path | None = None) -> set[str]:
    found = verify(str(model_path(base)), adapter=str(adapter or adapter_path(f"{base}-lora")))
    return {check.name for check in found.checks if not check.passed}


@pytest.mark.parametrize("name", ["tiny-bert-lora", "tiny-qwen3-lora"])
def test_a_model_with_an_adapter_is_checked_with_it(name: str) -> None:
    base = model_path(name.removesuffix("-lora"))
    alone, found = verify(str(base)), verify(str(base), adapter=str(adapter_path(name)))
    assert found.passed
    [effect] = [check for check in found.checks if check.name == "adapter"]
    assert effect.figure is not None
    assert effect.figure > 0.1
    assert {check.name for check in found.checks} == {check.name for check in alone.checks} | {"adapter"}


def test_an_adapter_that_changes_nothing_is_found(tmp_path: Path) -> None:
    """As one that was saved before it was trained: B is zero."""
    shutil.copytree(adapter_path("tiny-bert-lora"), tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = {key: value * ("lora_A" in key) for key, value in load_file(file).items()}
    save_file(tensors, file)
    found = verify(str(model_path("tiny-bert")), adapter=str(tmp_path / "adapter"))
    assert [check.name for check in found.checks if not check.passed] == ["adapter"]


def test_an_adapter_of_which_other_numbers_are_read_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = mx.load

    def changed(name: str) -> Any:
        factor = 1.5 if "adapter" in Path(name).name else 1
        return {key: array * factor for key, array in real(name).items()}

    monkeypatch.setattr(mx, "load", changed)
    found = verify(str(model_path("tiny-bert")), adapter=str(adapter_path("tiny-bert-lora")))
    [check] = [check for check in found.checks if not check.passed]
    assert check.name == "weights as stored"
    assert "lora_" in check.text


def test_an_adapter_has_no_card_and_no_reranker() -> None:
    adapter = str(adapter_path("tiny-bert-lora"))
    with pytest.raises(ConfigurationError, match="numbers are of the model without the adapter") as error:
        verify(str(model_path("tiny-bert")), card=BUNDLED, adapter=adapter)
    assert error.value.field == "card"
    with pytest.raises(ConfigurationError, match="is a reranker") as error:
        verify(str(model_path("tiny-bert-reranker")), adapter=adapter)
    assert error.value.field == "adapter"


@pytest.mark.parametrize("name", ["value", "self.value", "^encoder.layer.1.attention.self.value", "query|value"])
def test_patterns_of_scalings_are_read_as_peft_reads_them(name: str, tmp_path: Path) -> None:
    adapter = copy_model(adapter_path("tiny-bert-lora"), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", alpha_pattern={name: 5, "dense": 3})
    assert failed(adapter=adapter) == set()


@pytest.mark.parametrize("factor", [0.01, 10, -1])
def test_another_scaling_is_found(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scaling = AdapterConfig.scaling
    monkeypatch.setattr(AdapterConfig, "scaling", lambda self, module: factor * scaling(self, module))
    assert failed() == {"weights as stored"}


@pytest.mark.parametrize("base", ["tiny-bert", "tiny-splade", "tiny-colbert"])
def test_an_adapter_that_is_not_added_is_found(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = fitting_adapter(tmp_path / "adapter")
    assert failed(base, adapter) == set()
    monkeypatch.setattr(forward_pass, "merge", lambda *arguments: None)
    assert failed(base, adapter) == {"adapter"}


def test_an_adapter_with_modules_of_its_own_is_compared_with_them(tmp_path: Path) -> None:
    """The model alone would differ by its pooling, and have longer vectors."""
    adapter = copy_model(adapter_path("tiny-bert-lora"), tmp_path / "adapter")
    saved = copy_model("tiny-bert-cls", tmp_path / "saved")
    for name in ("modules.json", "config_sentence_transformers.json", "1_Pooling"):
        (saved / name).rename(adapter / name)
    edit_json(adapter / "config_sentence_transformers.json", truncate_dim=8)
    assert failed(adapter=adapter) == set()
    file = adapter / "adapter_model.safetensors"
    save_file({key: value * (".lora_A" in key or "embedding_A" in key) for key, value in load_file(file).items()}, file)
    assert failed(adapter=adapter) == {"adapter"}
