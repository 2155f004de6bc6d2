"""The roofline page: as committed it is what the script makes, and the formulas are right on cases done by hand."""

import math
from dataclasses import replace

import pytest

from akidb_embeddings.registry import MODELS
from scripts import roofline
from scripts.roofline import CHIPS, DIMENSIONS, LINUX, Dimensions, Machine, bound, predicted, verdict, work

# Linear maps of 4 x (2 + 2*2), 2 x 4, 4 x 2*8 and 8 x 4 weights, and 4 x 4 after pooling.
TINY = Dimensions(3, 4, 8, True, 1, 1, 2, 100, bits=4, value_bytes=2, fused=True, dense=((4, 4),))
ROUND = Machine("round", flops=1000.0, bandwidth=100.0, tile=1)


def test_the_page_is_what_the_script_makes() -> None:
    assert roofline.PAGE.read_text(encoding="utf-8") == roofline.page(), "run: python scripts/roofline.py"


def test_dimensions_are_those_of_the_registry() -> None:
    for name, dimensions in DIMENSIONS.items():
        spec = MODELS[name]
        assert dimensions.hidden == spec.dimension
        weights = dimensions.read_weights + dimensions.tables * dimensions.hidden
        # The rest are norms, biases and, where the model is small enough for it to show, the tokenizer.
        assert weights * dimensions.packed_bytes == pytest.approx(spec.size_bytes, rel=0.07)


@pytest.mark.parametrize(
    ("name", "norms", "published"),
    [
        ("qwen3-0.6b-4bit", 28 * (2 * 1024 + 2 * 128) + 1024, 595_776_512),
        ("gemma-300m-4bit", 24 * (4 * 768 + 2 * 256) + 768, 307_581_696),
    ],
)
def test_weights_add_up_to_the_published_number_of_parameters(name: str, norms: int, published: int) -> None:
    model = DIMENSIONS[name]
    assert model.read_weights + model.tables * model.hidden + norms == published


def test_weights_and_bytes_of_a_tiny_model() -> None:
    assert TINY.linears == ((4, 6), (2, 4), (4, 16), (8, 4))
    assert TINY.layer_weights == 24 + 8 + 64 + 32
    assert TINY.read_weights == 3 * 128 + 16
    assert TINY.packed_bytes == 0.5 + 2 * 2 / 64
    assert TINY.overhead == pytest.approx(1e-3 + 3 * 40e-6)


def test_flops_count_products_and_attention() -> None:
    job = work(TINY, ROUND, texts=2, length=5)
    # 10 rows through 3 layers of 128 weights, 2 rows through 16, and 3 layers of 2 texts with 25 pairs of 2 numbers.
    assert job.flops == 2 * 3 * 128 * 10 + 2 * 16 * 2 + 4 * 3 * 2 * 25 * 2
    assert job.tiled_flops == job.flops


def test_whole_tiles_are_charged_but_not_to_the_bound() -> None:
    tiled = replace(ROUND, tile=32)
    job = work(TINY, tiled, texts=2, length=17)
    attention = 4 * 3 * 2 * 17**2 * 2
    assert job.flops == 2 * 3 * 128 * 34 + 2 * 16 * 2 + attention
    assert job.tiled_flops == 2 * 3 * 128 * 64 + 2 * 16 * 32 + attention
    assert bound(TINY, tiled, 2, 17) == bound(TINY, ROUND, 2, 17)


def test_bytes_are_weights_activations_and_gathered_rows() -> None:
    job = work(TINY, ROUND, texts=2, length=5)
    gathered = 10 * 4 * 0.5625
    assert job.weight_bytes == 400 * 0.5625
    assert job.moved_bytes == 400 * 0.5625 + 3 * 2 * (2 * 10 * (10 + 6 + 20 + 12)) + gathered
    unfused = work(replace(TINY, fused=False), ROUND, texts=2, length=5)
    assert unfused.moved_bytes - job.moved_bytes == 3 * 2 * 4 * 2 * 1 * 25
    assert work(replace(TINY, tables=10**9), ROUND, 2, 5) == job  # a table is gathered from, never read whole
    assert work(TINY, replace(ROUND, packed=False), 2, 5).weight_bytes == 400 * 4


def test_the_slower_of_arithmetic_and_memory_counts() -> None:
    job = work(TINY, ROUND, 2, 5)
    slow_memory, slow_arithmetic = replace(ROUND, flops=1e9), replace(ROUND, bandwidth=1e9)
    assert predicted(TINY, slow_memory, 2, 5) == pytest.approx(job.moved_bytes / (0.8 * 100) + TINY.overhead)
    assert predicted(TINY, slow_arithmetic, 2, 5) == pytest.approx(job.flops / (0.7 * 1000) + TINY.overhead)
    assert bound(TINY, slow_memory, 2, 5) == job.weight_bytes / 100
    assert bound(TINY, slow_arithmetic, 2, 5) == job.flops / 1000


def test_a_qwen3_query_by_hand() -> None:
    # 440,401,920 weights; attention of 28 layers, 32 x 32 pairs and 16 heads of 128.
    flops = 2 * 440_401_920 * 32 + 4 * 28 * 32 * 32 * 2048
    assert work(DIMENSIONS["qwen3-0.6b-4bit"], CHIPS[0], 1, 32).flops == flops
    assert predicted(DIMENSIONS["qwen3-0.6b-4bit"], CHIPS[0], 1, 32) == pytest.approx(flops / 1.82e12 + 2.12e-3)


def test_a_prediction_is_never_faster_than_the_bound() -> None:
    for model in DIMENSIONS.values():
        for machine in (*CHIPS, LINUX):
            for shape in ((1, 1), (1, 16), (32, 32), (32, 256)):
                assert predicted(model, machine, *shape) > bound(model, machine, *shape)


def test_micro_batches_keep_to_texts_and_tokens() -> None:
    assert [roofline.micro_batch(CHIPS[0], length) for length in (32, 256, 512, 10_000)] == [32, 32, 16, 1]
    assert roofline.micro_batch(LINUX, 182) == 2


def test_mean_wait() -> None:
    assert roofline.mean_wait(0.010) == pytest.approx(0.005)  # half loaded: half a service time
    assert roofline.mean_wait(0.020) == math.inf


def test_verdicts() -> None:
    assert verdict(0.011, 0.02, 0.010) == "no"
    assert verdict(0.001, 0.0067, 0.010) == "in doubt"
    assert verdict(0.001, 0.0066, 0.010) == "yes"


def test_what_the_page_says_in_words() -> None:
    """The sentences of the template that no table carries."""
    qwen, gemma, minilm = (DIMENSIONS[name] for name in ("qwen3-0.6b-4bit", "gemma-300m-4bit", "minilm-l6-v2"))
    batch = {
        (id(model), chip.name): verdict(bound(model, chip, 32, 32), predicted(model, chip, 32, 32), roofline.BATCH)
        for model in (qwen, gemma, minilm)
        for chip in CHIPS
    }
    assert {batch[id(model), chip.name] for model in (qwen, gemma) for chip in CHIPS} == {"no"}
    assert [batch[id(minilm), chip.name] for chip in CHIPS] == ["in doubt", "yes", "yes"]
    m1 = CHIPS[0]
    assert verdict(bound(qwen, m1, 1, 32), predicted(qwen, m1, 1, 32), roofline.P50) == "no"
    assert verdict(bound(qwen, m1, 1, 16), predicted(qwen, m1, 1, 16), roofline.P50) == "in doubt"
    prompt = MODELS["qwen3-0.6b-4bit"].prompts["query"]
    assert len(prompt.split()) == 14
