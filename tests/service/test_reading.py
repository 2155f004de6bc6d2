"""Services of models with LoRA adapters: what they share, what they are called, and what is told of them."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService, model_version
from akidb_embeddings.engine.table import expected_weight_bytes
from akidb_embeddings.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from akidb_embeddings.pool.opening import expected_bytes
from tests.fixtures import adapter_path, copy_model, edit_json, model_path
from tests.hub_server import isolate

BASE, ADAPTER = model_path("tiny-bert"), adapter_path("tiny-bert-lora")
TEXTS = ["a cat", "the sea at night"]


def adapted(adapter: Path | str | None = ADAPTER, **settings: Any) -> EmbeddingService:
    return EmbeddingService(BASE, adapter=adapter, **settings)


def test_services_with_equal_adapters_share_an_engine_and_others_do_not(tmp_path: Path) -> None:
    other = copy_model(ADAPTER, tmp_path / "adapter")
    edit_json(other / "adapter_config.json", lora_alpha=9)
    with adapted() as one, adapted() as same, adapted(None) as plain, adapted(other) as scaled:
        assert one._engine is same._engine
        assert len({id(each._engine) for each in (one, plain, scaled)}) == 3
        assert len({each.fingerprint() for each in (one, plain, scaled)}) == 3
        assert one.fingerprint() == same.fingerprint()
        assert one.fingerprint().startswith("bert-lora-mean-32-")
        vectors = [each.embed(TEXTS) for each in (one, same, plain, scaled)]
        assert f"adapter={str(ADAPTER)!r}" in repr(one)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not any(np.allclose(vectors[0], other, atol=1e-3) for other in vectors[2:])


def test_an_adapter_that_is_written_again_is_loaded_again(tmp_path: Path) -> None:
    adapter = copy_model(ADAPTER, tmp_path / "adapter")
    with adapted(adapter) as before:
        edit_json(adapter / "adapter_config.json", lora_alpha=9)
        with adapted(adapter) as after:
            assert not np.allclose(before.embed(TEXTS), after.embed(TEXTS), atol=1e-3)
            assert before.fingerprint() != after.fingerprint()


def test_another_base_is_a_warning_with_both_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapter = copy_model(ADAPTER, tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="org/Other-Model")
    with caplog.at_level(logging.WARNING), adapted(adapter):
        assert "was trained on org/Other-Model, and changes" in caplog.text
        assert str(BASE) in caplog.text
    caplog.clear()
    for base in ("org/tiny-BERT", "/elsewhere/tiny-bert/", None):
        edit_json(adapter / "adapter_config.json", base_model_name_or_path=base)
        with caplog.at_level(logging.WARNING), adapted(adapter):
            assert "was trained on" not in caplog.text


@pytest.mark.parametrize("memory", ["fast", "compact"])
def test_it_takes_the_memory_that_its_files_say(memory: str) -> None:
    config = EmbeddingConfig(model_name=str(BASE), adapter=str(ADAPTER), memory=memory)
    with EmbeddingService(config=config) as service:
        expected = expected_weight_bytes(service.checkpoint, memory)
        assert service._engine.weight_bytes == pytest.approx(expected, rel=0.02, abs=20_000)
        assert expected_bytes(config) > expected


def test_an_adapter_of_another_model() -> None:
    with pytest.raises(CheckpointError, match="the adapter belongs to another model"):
        EmbeddingService(BASE, adapter=adapter_path("tiny-qwen3-lora"))


def test_an_adapter_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path / "home")
    for name in (str(tmp_path / "nowhere"), "./nowhere", "minilm-l6"):
        with pytest.raises(ModelNotFoundError, match=r"Give a folder .* or a Hugging Face repository") as unknown:
            adapted(name)
        assert unknown.value.field == "adapter"
        assert "minilm-l6-v2" not in str(unknown.value)
    with pytest.raises(
        ModelNotFoundError, match=r"The adapter org/adapter: .*akidb-embed download org/adapter --revision abc"
    ) as caught:
        EmbeddingService(BASE, adapter="org/adapter", adapter_revision="abc", auto_download=False)
    assert "bundled" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"adapter_revision is 'abc', but .* is a folder") as refused:
        adapted(adapter_revision="abc")
    assert refused.value.field == "adapter_revision"
    with pytest.raises(CheckpointError, match=r"is no LoRA adapter: it has no adapter_config\.json"):
        adapted(BASE)


def test_the_version_is_that_of_the_folders(tmp_path: Path) -> None:
    adapter = copy_model(ADAPTER, tmp_path / "adapter")

    def version(model: str, adapter: Path | str | None) -> str | None:
        chosen = None if adapter is None else str(adapter)
        return model_version(EmbeddingConfig(model_name=model, adapter=chosen))

    plain, both, remote = version(str(BASE), None), version(str(BASE), adapter), version("org/model", adapter)
    assert version(str(BASE), "org/adapter") == plain
    assert version("org/model", "org/adapter") is None
    assert len({plain, both, remote, None}) == 4
    (adapter / "1_Pooling" / "folder").mkdir(parents=True)
    assert version("org/model", adapter) == remote
    pooling = adapter / "pooling"  # modules may have any folder
    shutil.copytree(BASE / "1_Pooling", pooling)
    shutil.copy(BASE / "modules.json", adapter)
    modules = json.loads((adapter / "modules.json").read_text(encoding="utf-8"))
    modules[1]["path"] = "pooling"
    (adapter / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    mean = version("org/model", adapter)
    edit_json(pooling / "config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    assert len({remote, mean, version("org/model", adapter)}) == 3
    edit_json(adapter / "adapter_config.json", lora_alpha=9)
    assert version(str(BASE), adapter) not in (plain, both, None)
    assert version("org/model", adapter) not in (remote, None)
