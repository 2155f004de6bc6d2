"""What is told of a GPU, its published peak, and how much arithmetic a model needs."""

import contextlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.compute.backend import cuda
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.engine.forward_pass import ForwardPass
from akidb_embeddings.engine.planner import pad
from bench import gpu_plan, gpu_worker
from bench.arithmetic import needed_flops
from bench.expand import expand_folder
from bench.gpu import Gpu, device_memory, find_gpu, make_gpu
from bench.gpu_plan import Plan, choose, make_steps
from bench.gpu_variants import CompiledForwardPass
from bench.random_models import GEMMA3, QWEN3, Recipe, write_model
from tests.conftest import REPOSITORY
from tests.fixtures import BUNDLED, cosines, model_path
from tests.golden.texts import QUERIES


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", None),
        ("NVIDIA A1000", None),
        ("Apple M2 Pro", None),
    ],
)
def test_the_published_peak_of_a_card(name: str, peak: float | None) -> None:
    assert Gpu(name).peak == peak


def test_a_card_is_described_by_mlx_and_nvidia_smi() -> None:
    info = {"device_name": "NVIDIA H200", "total_memory": 150_000_000_000, "architecture": "sm_90"}
    found = make_gpu(info, "NVIDIA H200, 143771 MiB, 580.159.03\nNVIDIA H200, 143771 MiB, 580.159.03\n")
    assert (found.name, found.memory, found.driver) == ("NVIDIA H200", "143771 MiB", "580.159.03")
    assert found.describe()["GPU peak"] == "989 TFLOP/s in dense bfloat16, as published"
    assert make_gpu(info, "").describe() == {
        "GPU": "NVIDIA H200", "GPU memory": "150.0 GB", "GPU peak": "989 TFLOP/s in dense bfloat16, as published",
    }  # fmt: skip
    assert make_gpu({"device_name": "Apple M2"}, "").describe() == {"GPU": "Apple M2", "GPU peak": "unknown"}


def test_a_machine_without_a_gpu_has_none() -> None:
    assert find_gpu() is None
    assert device_memory().peak >= 0


@pytest.mark.long
def test_arithmetic_is_counted_from_the_weights_of_products(tmp_path: Path) -> None:
    """MiniLM by hand: six layers of four matrices 384 x 384 and two 384 x 1536; pairs of tokens in attention."""
    weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    expected = 2 * weights * 30 + 4 * 6 * 384 * (10**2 + 20**2)
    assert needed_flops(read_checkpoint(BUNDLED), [10, 20]) == expected
    small = {"num_hidden_layers": 1, "vocab_size": 16_000}
    write_model(tmp_path / "qwen3", Recipe({**QWEN3, **small}))
    layer = 1024 * (2048 + 2 * 1024) + 2048 * 1024 + 3 * 1024 * 3072
    assert needed_flops(read_checkpoint(tmp_path / "qwen3"), [8]) == 2 * layer * 8 + 4 * 2048 * 64
    write_model(tmp_path / "gemma", Recipe({**GEMMA3, **small}, ((768, 3072), (3072, 768))))
    layer = 768 * (768 + 2 * 256) + 768 * 768 + 3 * 768 * 1152
    assert needed_flops(read_checkpoint(tmp_path / "gemma"), [8]) == 2 * layer * 8 + 4 * 768 * 64


@pytest.mark.long
def test_an_expanded_copy_has_the_same_vectors(tmp_path: Path, minilm: EmbeddingService) -> None:
    expand_folder(BUNDLED, tmp_path / "copy")
    assert "quantization" not in (tmp_path / "copy" / "config.json").read_text(encoding="utf-8")
    with EmbeddingService(str(tmp_path / "copy")) as service:
        assert cosines(service.embed(QUERIES[:4]), minilm.embed(QUERIES[:4])).min() > 0.9999999


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-modernbert", "tiny-nomic-bert", "tiny-mpnet", "tiny-llama"])
def test_every_architecture_can_be_counted(name: str) -> None:
    assert needed_flops(read_checkpoint(model_path(name)), [8]) > 0


PLAN = Plan(Path("models"), None, "gpu", quick=False, python="python3")
STEPS = list(make_steps(PLAN))
NAMES = [step.name for step in STEPS]


def test_every_step_of_the_measurement_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_on_a_cpu_every_step_has_the_tests_take_few_texts() -> None:
    on_cpu = make_steps(replace(PLAN, device="cpu"))
    assert {step.environment.get("AKIDB_TESTS_GPU") for step in on_cpu} == {"cpu"}
    assert not [step for step in STEPS if "AKIDB_TESTS_GPU" in step.environment]


def test_what_must_hold_comes_before_experiments() -> None:
    """Whether vectors are right, the defaults' speed beside the peers', the other tests; then other settings."""
    beginnings = (
        *("about", "make qwen3", "goldens", "strict qwen3", "table qwen3", "strict minilm", "table minilm"),
        *("strict gemma", "table gemma", "queries qwen3", "queries minilm", "open loop"),
        *(
            "peer qwen3",
            "peer minilm",
            "peer gemma",
            "first vector fresh",
            "strict tests",
            "other tests",
            "server tests",
        ),
        *("new shapes", "queries, few", "bfloat16", "packed"),
    )
    places = [next(i for i, name in enumerate(NAMES) if name.startswith(beginning)) for beginning in beginnings]
    assert places == sorted(places)


def test_variants_differ_from_the_table_in_one_setting_that_is_no_default() -> None:
    backend = cuda(mx.Device(mx.cpu))
    assert backend.dtype == mx.float16
    defaults = {**vars(backend), "dtype": "float16", "compiled_activations": True, "compiled_encoder": False}
    texts = {step.task["model"]: step.task["texts"] for step in STEPS if step.name.startswith("table")}
    variants = [step for step in STEPS if step.task.get("changes")]
    for step in variants:
        [(name, value)] = step.task["changes"].items()
        assert value != defaults[name], step.name
        if "texts" in step.task:
            assert step.task["texts"] == texts[step.task["model"]], step.name
    assert len(variants) > 10


def test_the_limits_are_added_up() -> None:
    options = ("--quick", "--list", "--only", "table qwen3,peer qwen3", "--peers-python", "python3")
    command = [sys.executable, "scripts/gpu_measure.py", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    *listed, whole = [float(line.split()[0]) for line in done.stdout.splitlines()]
    about, making, also_making, *others = listed
    assert len(others) == 2
    assert whole == about + max(making, also_making) + sum(others)


def test_strict_vectors_are_made_before_any_others_are_compared_with_them() -> None:
    made = set()
    for step in STEPS:
        if step.task.get("is_reference"):
            assert step.task["settings"]["compute"] == "strict"
            made.add(step.task["model"])
        elif "references" in step.task:
            assert step.task["model"] in made, step.name
    assert made == {PLAN.folder(model) for model in (gpu_plan.QWEN3, gpu_plan.GEMMA, gpu_plan.MINILM)}


@pytest.mark.parametrize(
    ("only", "skip", "models"),
    [
        (["goldens", "minilm"], ["peer", "bfloat16", "float32"], []),
        (["queries qwen3"], [], ["qwen3-0.6b-4bit"]),
        (["peer gemma", "table qwen3"], [], ["qwen3-0.6b-4bit", "gemma-300m-4bit", "gemma-300m-4bit-float32"]),
        (["peer"], ["qwen3", "gemma"], ["minilm-l6-v2-float32"]),
        ([], ["peer"], ["qwen3-0.6b-4bit", "gemma-300m-4bit"]),
        (["make"], [], []),
    ],
)
def test_only_models_that_a_chosen_step_needs_are_made(only: list[str], skip: list[str], models: list[str]) -> None:
    chosen = choose(STEPS, only, skip)
    assert [Path(step.makes).name for step in chosen if step.makes] == models
    assert chosen[0].name == "about"
    for step in chosen[1:]:
        assert step.makes or not only or any(word in step.name for word in only)
        assert not any(word in step.name for word in skip)


def test_every_model_is_made_before_the_steps_that_need_it() -> None:
    assert choose(STEPS, [], []) == STEPS
    made = {gpu_plan.MINILM}
    for step in STEPS:
        assert made.issuperset(step.needs), step.name
        made.add(step.makes)
    needed = {folder for step in STEPS for folder in step.needs}
    assert made - {""} == needed
    assert {Path(folder).name for folder in needed} >= {"qwen3-0.6b-4bit", "minilm-l6-v2-float32"}


def test_strict_vectors_are_kept_for_one_model_and_one_list_of_texts() -> None:
    task = {"references": "models", "model": "models/qwen3"}
    texts = [str(number) for number in range(100)]
    file = gpu_worker.reference_file(texts, task)
    assert file.parent == Path("models")
    assert gpu_worker.reference_file([*texts, "one more"], task) == file  # only the first are compared
    others = [gpu_worker.reference_file(["another", *texts], task), gpu_worker.reference_file(texts[:6], task)]
    others += [
        gpu_worker.reference_file(texts, {**task, "model": f"models/{name}"}) for name in ("qwen3-tiny", "gemma")
    ]
    assert len({file, *others}) == 5


def test_queries_that_are_stopped_have_told_what_they_knew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All queries so far, every few hundred."""
    service = Mock()
    service.embed_query.side_effect = [*[None] * 600, InterruptedError]
    monkeypatch.setattr(gpu_worker, "load", lambda task: contextlib.nullcontext(service))
    with pytest.raises(InterruptedError):
        gpu_worker.single({"queries": 2000})
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["visit"], line["queries"]) for line in said] == [("first", 250), ("first", 500)]
    service.embed_query.side_effect = None
    gpu_worker.single({"queries": 600})
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    visits = [("first", 250), ("first", 500), ("first", 600), ("second", 250), ("second", 300)]
    assert [(line["visit"], line["queries"]) for line in said] == visits
    assert [len(line["slowest_words_ms"]) for line in said] == [10] * len(visits)


@pytest.mark.long
@pytest.mark.usefixtures("minilm")
def test_only_vectors_of_the_same_texts_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The strict vectors are not compared with themselves either."""

    def cosines_said(name: str, *, is_reference: bool) -> list[float | None]:
        (tmp_path / name).write_text(f"The {name} corpus\nhas two passages", encoding="utf-8")
        task = {"model": "minilm-l6-v2", "corpus": str(tmp_path / name), "texts": 2, "rounds": 2, "settings": {}}
        gpu_worker.corpus({**task, "references": str(tmp_path / "references"), "is_reference": is_reference})
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["round"] for line in said if "texts_s" in line] == [0, 1]
        assert "round" in said[-1]  # a step that is stopped in its second round has told the cosine
        return [line["lowest_cosine_to_strict"] for line in said if "lowest_cosine_to_strict" in line]

    assert cosines_said("first", is_reference=True) == []
    assert cosines_said("first", is_reference=False) == [pytest.approx(1)]
    assert cosines_said("second", is_reference=False) == [None]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="on a CPU, MLX compiles with the machine's compiler")
def test_a_compiled_encoder_computes_the_same() -> None:
    checkpoint, backend = read_checkpoint(model_path("tiny-qwen3")), cuda(mx.Device(mx.cpu), strict=True)
    plain, compiled = (made(checkpoint, backend, backend.dtype) for made in (ForwardPass, CompiledForwardPass))
    for rows in ([[5, 6, 7]], [[8, 9, 10, 11]], [[5, 6, 7], [9, 10, 11, 12]], [[1, 2, 3, 4, 5], [9, 10]]):
        batch = pad([np.array(row, dtype=np.int32) for row in rows], "last", (2048,))
        np.testing.assert_array_equal(np.array(compiled(batch)), np.array(plain(batch)))


@pytest.mark.long
def test_the_measurement_writes_each_figure_and_goes_on_where_a_step_fails(tmp_path: Path) -> None:
    """On the CPU, with tiny models: one step that ends in time, and one whose corpus is missing."""
    out = tmp_path / "figures.jsonl"
    common = ("--device", "cpu", "--quick", "--models", str(tmp_path / "models"), "--out", str(out))
    command = [sys.executable, "scripts/gpu_measure.py", *common, "--corpus", "nowhere", "--only", "first vector"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert '"first_vector_s"' in text
    assert '"step": "end"' in text
    assert "failed" not in text
    subprocess.run([*command[:-1], "0 ahead"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert '"failed": "exit code 1"' in out.read_text(encoding="utf-8")
