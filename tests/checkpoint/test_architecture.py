"""Which architecture a config.json asks for, with and without mlx-lm."""

import sys
from pathlib import Path

import pytest

from akidb_embeddings.checkpoint.architecture import find_architecture, mlx_lm_file
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import ARCHITECTURES
from akidb_embeddings.registry.twins import architecture_name
from tests.conftest import run_python

OURS = ", ".join(ARCHITECTURES)


def test_what_is_computed_here_is_never_left_to_mlx_lm() -> None:
    for name, architecture in ARCHITECTURES.items():
        assert find_architecture({"model_type": name}) is architecture
        assert architecture.computed_by == ""


@pytest.mark.parametrize(
    ("config", "file"),
    [
        ({"model_type": "llama"}, "llama.py"),
        ({"model_type": "mistral"}, "llama.py"),
        ({"model_type": "falcon_mamba"}, "mamba.py"),
        ({"model_type": "bailing_hybrid"}, "bailing_hybrid.py"),
        ({"model_type": "bailing_hybrid", "architectures": ["BailingMoeV3ForCausalLM"]}, "bailing_moe_v3.py"),
        ({"model_type": "t5"}, None),
        ({"model_type": "base"}, None),
        ({"model_type": "switch_layers"}, None),
        ({"model_type": "../models/llama"}, None),
        ({"model_type": None}, None),
    ],
)
def test_the_file_of_mlx_lm(config: dict[str, object], file: str | None) -> None:
    found = mlx_lm_file(config)
    assert (found and found.name) == file


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"model_type": "llama", "is_causal": True, "architectures": ["LlamaForCausalLM"]}, "llama"),
        ({"model_type": "llama", "is_causal": False}, "llama_bidirec"),
        ({"model_type": "llama", "architectures": ["LlamaBidirectionalModel"]}, "llama_bidirec"),
        ({"model_type": "llama", "auto_map": {"AutoModel": "code.LlamaBidirectionalModel"}}, "llama_bidirec"),
        ({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, "qwen3"),
        ({"model_type": "qwen3", "is_causal": False}, "bidirectional_qwen3"),
        ({"model_type": "qwen3", "architectures": ["Qwen3BidirectionalModel"]}, "bidirectional_qwen3"),
        ({"model_type": "qwen2"}, "qwen2"),
        ({"model_type": "qwen2", "is_causal": False}, "bidirectional_qwen2"),
        ({"model_type": "ministral3"}, "ministral3"),
        ({"model_type": "ministral3", "is_causal": False}, "bidirectional_ministral3"),
        ({"model_type": "lfm2"}, "lfm2"),
        ({"model_type": "lfm2", "is_causal": False}, "bidirectional_lfm2"),
        ({"model_type": "lfm2", "auto_map": {"AutoModel": "code.Lfm2BidirectionalModel"}}, "bidirectional_lfm2"),
        ({"model_type": "mistral", "is_causal": False}, "mistral"),
        ({"model_type": "bert", "is_causal": False}, "bert"),
        ({"model_type": None}, "None"),
    ],
)
def test_which_of_two_twins_is_meant(config: dict[str, object], name: str) -> None:
    assert architecture_name(config) == name
    if name in ARCHITECTURES:
        assert find_architecture(config) is ARCHITECTURES[name]


def test_another_class_of_a_twin_is_refused() -> None:
    for kind, name in (("llama", "OtherModel"), ("qwen3", "OtherModel"), ("qwen2", "Qwen2Model")):
        config = {"model_type": kind, "is_causal": False, "auto_map": {"AutoModel": f"code.{name}"}}
        with pytest.raises(CheckpointError, match=f"remote code for this {kind} model"):
            find_architecture(config)


def test_an_architecture_that_nobody_has_lists_ours() -> None:
    with pytest.raises(CheckpointError, match=rf"'t5'; supported: {OURS}\. mlx-lm [\d.]+, .* no 't5' either"):
        find_architecture({"model_type": "t5"})


def test_without_mlx_lm_the_error_tells_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlx_lm", None)  # as if it were not installed
    message = rf"'llama'; supported: {OURS}\. .*pip install -e '/.*\[mlx-lm\]'"
    with pytest.raises(CheckpointError, match=message):
        find_architecture({"model_type": "llama"})
    assert find_architecture({"model_type": "bert"}) is ARCHITECTURES["bert"]


def test_sizes_under_other_names() -> None:
    architecture = find_architecture({"model_type": "gpt2"})
    config = architecture.canonical({"model_type": "gpt2", "n_embd": 64, "n_positions": 512, "n_ctx": 256})
    assert (config["hidden_size"], config["max_position_embeddings"]) == (64, 512)
    assert architecture.canonical({"hidden_size": 8, "n_embd": 64})["hidden_size"] == 8
    assert "n_embd" not in ARCHITECTURES["bert"].canonical({})


def test_looking_imports_neither_mlx_nor_mlx_lm() -> None:
    folder = Path(__file__).parent.parent / "data" / "models" / "tiny-llama"
    code = (
        "import sys; from pathlib import Path; from akidb_embeddings.checkpoint.checkpoint import read_checkpoint; "
        "read_checkpoint(Path(sys.argv[1])); print([name for name in sys.modules if name.startswith('mlx')])"
    )
    assert run_python(code, str(folder)).strip() == "[]"
