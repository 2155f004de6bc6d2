"""What ``scripts/gpu_measure.py`` measures, in the order of importance."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# Random models by the name of their recipe; the bundled one is real.
QWEN3, GEMMA, MINILM = "qwen3-0.6b-4bit", "gemma-300m-4bit", "minilm-l6-v2"
# Under these names a task of ``gpu_worker`` is told which models it reads: ours, and the peers' form of it.
_MODEL_KEYS = ("model", "plain")
# Texts of a model's table and of its variants, so that the table is what variants are compared with.
_TEXTS = {QWEN3: 4000, MINILM: 16_000, GEMMA: 4000}
_TINY = {"num_hidden_layers": 2, "vocab_size": 16_000, "intermediate_size": 512}
_PYTEST = (
    *(sys.executable, "-m", "pytest", "-v", "--tb=short", "-rs", "-m", "gpu"),
    # Without the plugins that pyproject.toml asks for, and with what other packages warn of.
    *("-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings=default"),
)
# Tests of tests/gpu that are one step each, so that one that hangs does not take the others with it; -k of pytest.
_GOLDENS = "test_vectors_are_those or bundled or equal_forwards or ahead"
_STRICT, _SERVER, _COMPACT = "strict or original", "server", "compact"
_OTHERS = f"not ({_GOLDENS} or {_STRICT} or {_SERVER} or {_COMPACT})"


@dataclass(frozen=True)
class Plan:
    """What is asked for. ``python``: the interpreter with sentence-transformers; "" without."""

    models: Path
    corpus: str | None
    device: str
    quick: bool
    python: str

    @property
    def environment(self) -> Mapping[str, str]:
        """What tells ``tests.gpu`` that the CPU stands in for the GPU, and so to embed fewer and shorter texts."""
        return {"AKIDB_TESTS_GPU": "cpu"} if self.device == "cpu" else {}

    def scaled(self, full: int, quick: int) -> int:
        """One number for the quick form, another for the full one."""
        return quick if self.quick else full

    def folder(self, model: str, *, expanded: bool = False) -> str:
        """Where a random model is; the bundled one's name."""
        if model == MINILM and not expanded:
            return MINILM
        return str(self.models / f"{model}{'-tiny' if self.quick else ''}{'-float32' if expanded else ''}")


@dataclass(frozen=True)
class Step:
    """One process: its command, what it is told on stdin, and how many seconds it may take.

    ``needs`` has the models it reads, ``makes`` the one it writes. Those that make models need no GPU and run together.
    """

    name: str
    command: Sequence[str]
    limit: float
    task: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[str] = ()
    makes: str = ""
    is_first: bool = False
    is_pytest: bool = False


def choose(steps: Iterable[Step], only: Sequence[str], skip: Sequence[str]) -> list[Step]:
    """The first step, those whose names have a word of ``only`` and none of ``skip``, and what makes their models."""

    def is_asked_for(step: Step) -> bool:
        return (not only or any(word in step.name for word in only)) and not any(word in step.name for word in skip)

    steps = list(steps)
    chosen = [step for step in steps if step.is_first or (not step.makes and is_asked_for(step))]
    needed = {folder for step in chosen for folder in step.needs}
    return [step for step in steps if step in chosen or step.makes in needed]


def sum_of_limits(steps: Iterable[Step]) -> float:
    """The seconds that steps may take in all. Models are made at the same time."""
    steps = list(steps)
    making = max((step.limit for step in steps if step.makes), default=0.0)
    return making + sum(step.limit for step in steps if not step.makes)


def make_steps(plan: Plan) -> Iterator[Step]:
    """All steps: whether vectors are right, how fast the defaults are, then what only explains or may improve it."""
    yield replace(_worker(plan, "about", "about", 40), is_first=True)
    yield from _models(plan)
    yield _pytest(plan, "goldens", 100, _GOLDENS)  # where vectors are wrong, no speed means anything
    for model in _TEXTS:
        yield _strict(plan, model)
        yield _corpus(plan, f"table {model}", model, 45)
    for model in (QWEN3, MINILM):
        told = {"model": plan.folder(model), "queries": plan.scaled(2000, 10)}
        yield _worker(plan, f"queries {model}", "single", 45, told)
    yield _open_loop(plan, QWEN3)
    if plan.python:
        for model, texts in ((QWEN3, 1500), (MINILM, 6000), (GEMMA, 1500)):
            yield _peer(plan, model, texts)
    yield from _first_vectors(plan)
    yield _pytest(plan, "strict tests", 70, _STRICT)
    yield _pytest(plan, "other tests", 90, _OTHERS)
    yield _pytest(plan, "server tests", 60, _SERVER)
    yield from _outliers(plan)
    yield from _variants(plan)
    yield _packed(plan)
    yield _pytest(plan, "packed tests", 40, _COMPACT)


def _worker(
    plan: Plan,
    name: str,
    task: str,
    limit: float,
    told: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Step:
    """A task of ``gpu_worker``. ``told`` may have ``changes`` of the backend and ``settings`` of the service."""
    settings = {"warm_up": False} if plan.quick else {}
    whole = {"device": plan.device, "corpus": plan.corpus, "changes": {}, "settings": settings, **(told or {})}
    command = (sys.executable, "-m", "bench.gpu_worker", task)
    needs = [whole[key] for key in _MODEL_KEYS if key in whole]
    return Step(
        name, command, limit, whole, {"AKIDB_BACKEND": "auto", **plan.environment, **(environment or {})}, needs
    )


def _models(plan: Plan) -> Iterator[Step]:
    config = _TINY if plan.quick else {}
    forms = (False, True) if plan.python else (False,)
    models = [(model, expanded) for model in (QWEN3, GEMMA, MINILM) for expanded in forms]
    for model, expanded in models:
        if model != MINILM or expanded:
            folder = plan.folder(model, expanded=expanded)
            told = {"folder": folder, "recipe": model, "config": config, "expanded": expanded}
            yield replace(_worker(plan, f"make {Path(folder).name}", "prepare", 40, told), makes=folder)


def _pytest(plan: Plan, name: str, limit: float, tests: str) -> Step:
    return Step(name, (*_PYTEST, "tests/gpu", "-k", tests), limit, environment=plan.environment, is_pytest=True)


def _corpus(plan: Plan, name: str, model: str, limit: float, told: Mapping[str, Any] | None = None) -> Step:
    whole = {
        "model": plan.folder(model), "texts": plan.scaled(_TEXTS[model], 6), "rounds": 2,
        "references": str(plan.models), "is_reference": False,
    }  # fmt: skip
    return _worker(plan, name, "corpus", limit, {**whole, **(told or {})})


def _strict(plan: Plan, model: str) -> Step:
    """What the vectors of every later step are compared with."""
    settings = {"compute": "strict", "warm_up": False}
    told = {"texts": plan.scaled(512, 6), "rounds": 1, "is_reference": True, "settings": settings}
    return _corpus(plan, f"strict {model}", model, 25, told)


def _open_loop(plan: Plan, model: str) -> Step:
    rates = (5, 10) if plan.quick else (50, 200, 1000)
    told = {"model": plan.folder(model), "rates": rates, "seconds": plan.scaled(4, 1)}
    return _worker(plan, f"open loop {model}", "open_loop", 40, told)


def _peer(plan: Plan, model: str, texts: int) -> Step:
    told = {
        "model": plan.folder(model), "plain": plan.folder(model, expanded=True), "texts": plan.scaled(texts, 16),
        "queries": plan.scaled(60, 3), "python": plan.python, "dtype": "bfloat16", "threads": 8, "patience": 45,
    }  # fmt: skip
    step = _worker(plan, f"peer {model}", "peer", 45, told)
    return step if plan.device == "cpu" else replace(step, task={**step.task, "device": "cuda"})


def _first_vectors(plan: Plan) -> Iterator[Step]:
    """With a folder of kernels that is new, and again, when it is filled."""
    kernels = str(plan.models / f"kernels-{os.getpid()}")
    for model in (QWEN3, MINILM):
        for visit in ("fresh", "second"):
            environment = {"MLX_PTX_CACHE_DIR": f"{kernels}-{model}"}
            name = f"first vector {visit} process {model}"
            yield _worker(plan, name, "cold", 25, {"model": plan.folder(model)}, environment)


def _outliers(plan: Plan) -> Iterator[Step]:
    """What a new shape costs: plans of attention, graphs, products' heuristics, compilation."""
    told = {"shapes": plan.scaled(16, 3), "width": plan.scaled(1024, 64)}
    for value in ("1", "0"):
        name = f"new shapes, cuDNN attention {value}"
        yield _worker(plan, name, "shapes", 35, told, {"MLX_CUDA_USE_CUDNN_SDPA": value})
    forwards = {"model": MINILM, "shapes": plan.scaled(100, 4), "visits": 3}
    variants: Sequence[Mapping[str, str]] = ({}, {"MLX_USE_CUDA_GRAPHS": "0"}, {"MLX_CUDA_USE_CUDNN_SDPA": "0"})
    for variables in variants:
        named = ", ".join(f"{name}={value}" for name, value in variables.items()) or "defaults"
        yield _worker(plan, f"new forwards, {named}", "thousand", 25, forwards, variables)
    # Beside the first queries of the defaults, whose figures are told as they come.
    for name, changes in (
        ("few shapes False", {"few_shapes": False}),
        ("compiled encoder", {"compiled_encoder": True}),
    ):
        arguments = {"model": plan.folder(QWEN3), "queries": plan.scaled(300, 10), "changes": changes}
        yield _worker(plan, f"queries, {name}", "single", 30, arguments)


def _variants(plan: Plan) -> Iterator[Step]:
    """Other settings than the defaults, which the tables have: speed, and the cosine to what is computed strictly."""

    def changed(name: str, model: str, changes: Mapping[str, Any]) -> Step:
        return _corpus(plan, f"{name} {model}", model, 30, {"changes": changes})

    def goldens(name: str, models: Sequence[str], changes: Mapping[str, Any]) -> Step:
        return _worker(plan, f"{name} goldens", "golden", 25, {"models": models, "changes": changes, "settings": {}})

    tiny = ("tiny-qwen3", "tiny-gemma3", "tiny-gemma3-causal")
    yield goldens("default", tiny, {})  # their cosines; the tests only say that they are high enough
    for dtype in ("bfloat16", "float32"):
        for model in (QWEN3, GEMMA):
            yield changed(dtype, model, {"dtype": dtype})
        yield goldens(dtype, tiny, {"dtype": dtype})
    for tokens in (16_384, 32_768, 131_072):
        for model in (QWEN3, MINILM):
            yield changed(f"{tokens} tokens a micro-batch", model, {"tokens_per_batch": tokens // plan.scaled(1, 32)})
    for ahead in (0, 2):
        yield changed(f"{ahead} ahead", MINILM, {"ahead": ahead})
    yield changed("compiled activations False", GEMMA, {"compiled_activations": False})


def _packed(plan: Plan) -> Step:
    """Weights as stored: whether they are slow to compile or slow to multiply."""
    rows = [1, 16, 512, 8192] if not plan.quick else [1, 16]
    told = {"width": plan.scaled(1024, 128), "rows": rows, "dtypes": ["float16", "float32"]}
    return _worker(plan, "packed products", "packed", 40, told)
