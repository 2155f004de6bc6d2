"""Token vectors for late interaction: sentence-transformers' numbers, of queries and of documents."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import ConfigurationError, EmbeddingService, InputError, NonFiniteVectorError, maxsim
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.conversion.convert import convert
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.service.shared import model_version
from akidb_embeddings.vectors.finish import Vectors
from tests.fixtures import adapter_path, copy_model, edit_json, golden, model_path
from tests.golden.texts import DOCUMENTS, QUERIES, TEXTS
from tests.outputs import golden_rows

NAMES = ("tiny-colbert", "tiny-multivector")
SHORT = [text for text in TEXTS if len(text) < 400]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, EmbeddingService]]:
    with EmbeddingService(str(model_path(NAMES[0]))) as one, EmbeddingService(str(model_path(NAMES[1]))) as other:
        yield dict(zip(NAMES, (one, other), strict=True))


def check(found: list[Vectors], expected: list[Any], tolerance: float = TOLERANCE) -> None:
    assert [one.shape for one in found] == [other.shape for other in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", ["query", "document"])
def test_vectors_are_those_of_sentence_transformers(
    name: str, role: str, services: dict[str, EmbeddingService]
) -> None:
    result = services[name].encode(SHORT, prompt_name=role, output="tokens")
    check(result.vectors, golden_rows(name, {"query": "queries", "document": "documents"}[role]))
    assert len(result.truncated) == len(result.token_counts) == len(SHORT)


@pytest.mark.parametrize("name", NAMES)
def test_similarities_are_those_of_sentence_transformers(name: str, services: dict[str, EmbeddingService]) -> None:
    queries = services[name].encode(QUERIES, prompt_name="query", output="tokens").vectors
    documents = services[name].encode(DOCUMENTS, prompt_name="document", output="tokens").vectors
    np.testing.assert_allclose(maxsim(queries, documents), golden(name)["similarities"], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", ["query", "document"])
def test_a_text_has_the_same_vectors_alone_and_among_others(
    name: str, role: str, services: dict[str, EmbeddingService]
) -> None:
    texts, service = SHORT[::4], services[name]
    together = service.encode(texts, prompt_name=role, output="tokens").vectors
    check([service.encode([text], prompt_name=role, output="tokens").vectors[0] for text in texts], together)


def unattended(folder: Path) -> Path:
    """The model with the expansion of GTE-ModernColBERT: to a fixed length, and attended to by no token."""
    copy_model("tiny-multivector", folder)
    edit_json(
        folder / "sentence_bert_config.json", query_expansion={"strategy": "fixed", "attend": False, "length": 24}
    )
    return folder


def test_tokens_that_expand_a_query_are_attended_to_only_where_the_model_says_so(tmp_path: Path) -> None:
    with EmbeddingService(str(unattended(tmp_path / "model"))) as service:
        found = service.encode(SHORT, prompt_name="query", output="tokens").vectors
    check(found, golden_rows("tiny-multivector", "unattended"))


def test_async_calls_give_the_same(services: dict[str, EmbeddingService]) -> None:
    service = services["tiny-colbert"]
    result = asyncio.run(service.aencode(QUERIES, prompt_name="query", output="tokens"))
    expected = service.encode(QUERIES, prompt_name="query", output="tokens")
    check(result.vectors, expected.vectors)
    assert result.fingerprint == expected.fingerprint == service.fingerprint(prompt_name="query")
    assert result.fingerprint.startswith("bert-tokens-")


def test_queries_and_documents_have_other_fingerprints_also_with_equal_prompts() -> None:
    with EmbeddingService(model_path("tiny-colbert"), query_prompt="x", document_prompt="x") as service:
        results = [service.encode(["cat"], prompt_name=role, output="tokens") for role in ("query", "document")]
        assert len(results[0].vectors[0]) != len(results[1].vectors[0])
        assert results[0].fingerprint != results[1].fingerprint == service.fingerprint()
        assert results[0].fingerprint == service.fingerprint(prompt_name="query")


def test_queries_are_expanded_and_cut_to_their_length(services: dict[str, EmbeddingService]) -> None:
    result = services["tiny-colbert"].encode(["cat", "the cat " * 30], prompt_name="query", output="tokens")
    assert [len(vectors) for vectors in result.vectors] == result.token_counts == [24, 24]
    assert result.truncated == [False, True]
    result = services["tiny-colbert"].encode(["cat", "the cat " * 30], prompt_name="document", output="tokens")
    assert [len(vectors) for vectors in result.vectors] == result.token_counts == [5, 48]
    assert result.truncated == [False, True]
    result = services["tiny-multivector"].encode(["cat", "the cat " * 15], prompt_name="query", output="tokens")
    assert result.token_counts[0] == 40 < result.token_counts[1]
    assert result.truncated == [False, False]


def test_whether_texts_are_queries_or_documents_must_be_said(services: dict[str, EmbeddingService]) -> None:
    service = services["tiny-colbert"]
    given: list[dict[str, Any]] = [{}, {"prompt": "[Q] "}, {"prompt_name": "other"}]
    for options in given:
        with pytest.raises(
            InputError, match=r"differ in more than their prompts\. Set prompt_name to 'query'"
        ) as caught:
            service.encode(["a"], output="tokens", **options)
        assert caught.value.field == "prompt_name"


def test_there_is_no_dense_vector(services: dict[str, EmbeddingService]) -> None:
    service = services["tiny-multivector"]
    assert (service.outputs, service.dimension) == (("tokens",), 8)
    with pytest.raises(ConfigurationError, match="no output 'dense'; it has 'tokens'"):
        service.embed_queries(["a"])
    with pytest.raises(ConfigurationError, match="pooling is 'cls', which is for dense vectors"):
        service.with_options(pooling="cls")
    with pytest.raises(ConfigurationError, match="makes no dense vectors"):
        convert(model_path("tiny-colbert"), Path("nowhere"), measure=True)


@pytest.mark.parametrize("name", NAMES)
def test_limits_are_the_models(name: str, services: dict[str, EmbeddingService]) -> None:
    limit = {"tiny-colbert": 48, "tiny-multivector": 64}[name]
    assert services[name].settings.max_tokens == limit
    with pytest.raises(ConfigurationError, match=f"max_tokens is {limit + 1}; the limit of .* is {limit}"):
        EmbeddingService(str(model_path(name)), max_tokens=limit + 1)
    least = {"tiny-colbert": 24, "tiny-multivector": 40}[name]
    with pytest.raises(ConfigurationError, match=f"max_tokens is 20; queries of this model have {least} tokens"):
        EmbeddingService(str(model_path(name)), max_tokens=20)
    with EmbeddingService(str(model_path(name)), max_tokens=45, truncate="error") as service:
        with pytest.raises(InputError, match="the limit is 45"):
            service.encode(["the cat " * 60], prompt_name="document", output="tokens")
        if name == "tiny-colbert":
            with pytest.raises(InputError, match="the limit is 24"):
                service.encode(["the cat " * 30], prompt_name="query", output="tokens")


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_folder_makes_the_same(name: str, tmp_path: Path) -> None:
    convert(model_path(name), tmp_path / "converted")
    with EmbeddingService(str(tmp_path / "converted")) as service:
        found = service.encode(SHORT[::5], prompt_name="document", output="tokens").vectors
    check(found, golden_rows(name, "documents")[::5])


def test_a_vector_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    folder = copy_model("tiny-colbert", tmp_path / "model")
    mx.save_safetensors(
        str(folder / "1_Dense" / "model.safetensors"), {"linear.weight": mx.full((8, 32), float("nan"))}
    )
    with EmbeddingService(str(folder)) as service, pytest.raises(NonFiniteVectorError):
        service.encode(["a river"], prompt_name="query", output="tokens")


def test_settings_of_the_description_change_the_fingerprint_and_the_version(tmp_path: Path) -> None:
    seen, versions = set(), set()
    for index, words in enumerate(([","], [",", "."])):
        folder = copy_model("tiny-colbert", tmp_path / str(index))
        edit_json(folder / "config_sentence_transformers.json", skiplist_words=words)
        with EmbeddingService(str(folder)) as service:
            seen.add(service.fingerprint("[D] "))
            versions.add(model_version(service.config))
    assert len(seen) == len(versions) == 2


def test_words_of_the_list_are_skipped_in_documents(tmp_path: Path) -> None:
    counts: dict[tuple[str, str], int] = {}
    for words in ([], [",", "the", "no such word"], None):
        folder = copy_model("tiny-colbert", tmp_path / str(len(counts)))
        edit_json(folder / "config_sentence_transformers.json", skiplist_words=words)
        with EmbeddingService(str(folder)) as service:
            for role in ("document", "query"):
                [vectors] = service.encode(["the cat, the river."], prompt_name=role, output="tokens").vectors
                counts[role, str(words)] = len(vectors)
    whole = counts["document", "[]"]
    assert counts["document", "[',', 'the', 'no such word']"] == whole - 3
    assert counts["document", "None"] == whole - 2  # PyLate's default is all punctuation
    assert {count for (role, _), count in counts.items() if role == "query"} == {24}


@pytest.mark.parametrize(
    ("name", "file", "entries", "words"),
    [
        (
            "tiny-multivector",
            "sentence_bert_config.json",
            {"query_expansion": {"strategy": "most", "length": 9}},
            "strategy",
        ),
        ("tiny-multivector", "sentence_bert_config.json", {"query_expansion": {"strategy": "min"}}, "query_expansion"),
        (
            "tiny-multivector",
            "sentence_bert_config.json",
            {"query_expansion": {"strategy": "min", "length": 64, "attend": False}},
            "local_attention",
        ),
        ("tiny-multivector", "sentence_bert_config.json", {"document_length": "64"}, "document_length"),
        ("tiny-colbert", "config_sentence_transformers.json", {"query_length": 129}, "has 128 positions"),
        ("tiny-colbert", "config_sentence_transformers.json", {"query_length": 1 << 30}, "length as 1073741824"),
        ("tiny-multivector", "sentence_bert_config.json", {"other": 1}, "other"),
        ("tiny-multivector", "2_MultiVectorMask/config.json", {"keep_only_token_ids": [4]}, "keep_only_token_ids"),
        ("tiny-multivector", "2_MultiVectorMask/config.json", {"skiplist_tasks": ["other"]}, "skiplist_tasks"),
        ("tiny-multivector", "3_Normalize/config.json", {"module_input_name": "sentence_embedding"}, "normalizes"),
        ("tiny-multivector", "1_Dense/config.json", {"module_input_name": "sentence_embedding"}, "token_embeddings"),
        ("tiny-multivector", "1_Dense/config.json", {"use_residual": True}, "use_residual"),
        ("tiny-multivector", "tokenizer_config.json", {"padding_side": "left"}, "pads on the left"),
        ("tiny-colbert", "config_sentence_transformers.json", {"query_length": 0}, "query_length"),
        ("tiny-colbert", "config_sentence_transformers.json", {"skiplist_words": "abc"}, "skiplist_words"),
    ],
)
def test_what_would_make_other_vectors_is_refused(
    tmp_path: Path, name: str, file: str, entries: dict[str, Any], words: str
) -> None:
    folder = copy_model(name, tmp_path / "model")
    edit_json(folder / file, **entries)
    with pytest.raises(CheckpointError, match=words):
        EmbeddingService(str(folder))


def with_files_of(model: str, folder: Path) -> Path:
    """A folder with another model's sentence-transformers files."""
    for path in model_path(model).iterdir():
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        elif path.name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
            shutil.copy(path, folder)
    return folder


def colbert_of(base: str, folder: Path) -> Path:
    """A copy of a model with the files that make token vectors of it."""
    return with_files_of("tiny-colbert", copy_model(base, folder))


@pytest.mark.parametrize("base", ["tiny-qwen3", "tiny-gemma3-causal", "tiny-lfm2"])
def test_tokens_that_none_attends_to_are_refused_where_they_are_not_implemented(base: str, tmp_path: Path) -> None:
    folder = colbert_of(base, tmp_path / "model")
    with pytest.raises(CheckpointError, match="expands queries by tokens that no other attends to"):
        EmbeddingService(str(folder))


def test_tokens_that_none_attends_to_are_within_reach(tmp_path: Path) -> None:
    folder = colbert_of("tiny-gemma3", tmp_path / "model")
    edit_json(folder / "config.json", sliding_window=40)
    with pytest.raises(CheckpointError, match=r"may be 20 tokens from the others at most \(sliding_window\)"):
        EmbeddingService(str(folder))


def test_an_adapters_files_decide_what_is_made(tmp_path: Path) -> None:
    adapter = with_files_of("tiny-colbert", copy_model(adapter_path("tiny-bert-lora"), tmp_path / "adapter"))
    with EmbeddingService(model_path("tiny-bert"), adapter=adapter) as late:
        assert late.outputs == ("tokens",)
        assert late.encode(["a cat"], prompt_name="query", output="tokens").vectors[0].shape == (24, 8)
    adapter = with_files_of("tiny-bert", copy_model(adapter_path("tiny-bert-lora"), tmp_path / "dense"))
    base = colbert_of("tiny-bert", tmp_path / "base")
    with (
        EmbeddingService(base, adapter=adapter) as dense,
        EmbeddingService(model_path("tiny-bert"), adapter=adapter) as same,
    ):
        assert dense.outputs == ("dense",)
        np.testing.assert_array_equal(dense.embed(["a cat"]), same.embed(["a cat"]))


def test_a_folder_of_pylate_without_its_markers_is_refused(tmp_path: Path) -> None:
    folder = copy_model("tiny-colbert", tmp_path / "model")
    (folder / "config_sentence_transformers.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks config_sentence_transformers\.json, which gives the markers"):
        EmbeddingService(str(folder))


def test_neither_dense_settings_nor_a_truncation_apply(tmp_path: Path) -> None:
    folder = copy_model("tiny-colbert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", truncate_dim=4)
    with EmbeddingService(str(folder)) as service:
        assert service.dimension == 8
    with pytest.raises(ConfigurationError, match="normalize is False, which is for dense vectors"):
        EmbeddingService(str(folder), normalize=False)


def test_a_folder_of_pylate_without_its_type_makes_the_same(tmp_path: Path) -> None:
    folder = copy_model("tiny-colbert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", model_type=None, skiplist_words=None)
    with EmbeddingService(str(folder)) as service:
        found = service.encode(SHORT[::5], prompt_name="document", output="tokens").vectors
    check(found, golden_rows("tiny-colbert", "documents")[::5])


def test_other_modules_are_refused(tmp_path: Path) -> None:
    folder = copy_model("tiny-multivector", tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    pooling = {"idx": 4, "name": "4", "path": "4_H", "type": "sentence_transformers.x.HierarchicalTokenPooling"}
    (folder / "modules.json").write_text(json.dumps([*modules, pooling]))
    with pytest.raises(CheckpointError, match="MultiVectorMask and Normalize for token vectors"):
        EmbeddingService(str(folder))


def test_expansion_may_be_off_or_have_its_own_token(tmp_path: Path) -> None:
    lengths = []
    for index, entries in enumerate(({"do_query_expansion": False}, {"query_expansion": None}, {"query_length": 10})):
        folder = copy_model("tiny-colbert", tmp_path / str(index))
        file = folder / "config_sentence_transformers.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))
        with EmbeddingService(str(folder)) as service:
            lengths.append(service.encode(["cat", "the cat " * 30], prompt_name="query", output="tokens").token_counts)
    assert lengths == [[5, 24], [5, 24], [10, 10]]
    folder = copy_model("tiny-multivector", tmp_path / "token")
    file = folder / "sentence_bert_config.json"
    for token, fits in (("[SEP]", True), ("no such token", False)):
        edit_json(file, query_expansion={"strategy": "min", "length": 24, "attend": True, "token": token})
        with EmbeddingService(str(folder)) as service:
            if fits:
                assert service.encode(["a"], prompt_name="query", output="tokens").token_counts == [24]
                continue
            with pytest.raises(CheckpointError, match="lacks the token by which queries grow"):
                service.encode(["a"], prompt_name="query", output="tokens")
