"""Copies of the reranker are equal whatever lies around, and other processes give the same scores."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.postprocessor.akidb import MLXRerank
from llama_index_helpers import no_noise as no_noise
from llama_index_helpers import no_settings as no_settings
from llama_index_helpers import run_script
from llama_index_rerank_helpers import COPIES, FIELDS, NAMED, PASSAGES, QUERY, RERANKER, nodes, ranking, reranker

from akidb_embeddings import ConfigurationError, close_shared_rerankers, shared_reranker
from akidb_embeddings.config.rerank import FIELDS as CONFIG_FIELDS
from tests.conftest import mlx_threads, run_python

teardown_module = close_shared_rerankers

copies = pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
Copy = Callable[[MLXRerank], MLXRerank]


@copies
@pytest.mark.parametrize("settings", [{}, FIELDS, NAMED], ids=["nothing", "most", "name"])
def test_copies_are_equal_whatever_files_lie_around(duplicate: Copy, settings: dict[str, Any], tmp_path: Path) -> None:
    ours = reranker(**settings)
    (tmp_path / "embedding_config.yaml").write_text("rerank: {max_tokens: 8, batch_size: 3, auto_download: false}")
    theirs = duplicate(ours)
    assert theirs == ours
    assert theirs.config == ours.config
    assert theirs.to_dict() == ours.to_dict()


@copies
def test_copies_keep_what_a_file_set(duplicate: Copy, tmp_path: Path) -> None:
    file = tmp_path / "embedding_config.yaml"
    file.write_text(f"rerank: {{model_name: {RERANKER}, max_tokens: 8}}")
    ours = MLXRerank()
    file.unlink()
    assert duplicate(ours) == ours
    assert duplicate(ours).max_tokens == 8


@copies
def test_copies_of_a_used_object_give_the_same_scores(duplicate: Copy) -> None:
    ours = reranker(activation="sigmoid", top_n=4, keep_retrieval_score=True)
    expected = ranking(ours.postprocess_nodes(nodes(), query_str=QUERY))
    assert ranking(duplicate(ours).postprocess_nodes(nodes(), query_str=QUERY)) == expected
    threads = mlx_threads()
    duplicate(ours).postprocess_nodes(nodes(), query_str=QUERY)
    assert mlx_threads() == threads


def test_a_callback_manager_is_no_part_of_what_an_object_is() -> None:
    ours = reranker()
    other = reranker(callback_manager=CallbackManager([LlamaDebugHandler(print_trace_on_end=False)]))
    assert ours == other
    assert ours.to_dict() == other.to_dict()
    assert "callback_manager" not in ours.to_dict()
    assert copy.deepcopy(other) == other


@pytest.mark.parametrize(
    "change", [{name: value} for name, value in (FIELDS | NAMED).items()] + [{"model_name": "other"}], ids=str
)
def test_objects_with_other_settings_differ(change: dict[str, Any]) -> None:
    values = {"model_name": str(RERANKER)} | change
    assert MLXRerank(**values) != reranker()
    assert MLXRerank(**values).to_dict() != reranker().to_dict()


def test_it_equals_nothing_else_and_has_no_hash() -> None:
    others: tuple[object, ...] = (str(RERANKER), reranker().config, reranker().to_dict())
    for other in others:
        assert reranker() != other
    with pytest.raises(TypeError, match="unhashable"):  # as all of LlamaIndex's: fields may be set
        hash(reranker())


def test_a_serialized_form_takes_further_fields() -> None:
    data = reranker(max_tokens=48).to_dict()
    before = copy.deepcopy(data)
    assert MLXRerank.from_dict(data, top_n=7) == reranker(max_tokens=48, top_n=7)
    assert data == before
    with pytest.raises(ConfigurationError, match="top_k"):
        MLXRerank.from_dict(data | {"top_k": 3})


def test_equal_objects_share_an_engine() -> None:
    first, second = reranker(), reranker(top_n=5, activation="sigmoid", keep_retrieval_score=True)
    first.postprocess_nodes(nodes(), query_str=QUERY)
    threads = mlx_threads()
    second.postprocess_nodes(nodes(), query_str=QUERY)
    reranker(max_tokens=64).postprocess_nodes(nodes(), query_str=QUERY)
    assert mlx_threads() == threads
    assert shared_reranker(first.config) is shared_reranker(second.config)
    assert second.config.to_dict().keys() == set(CONFIG_FIELDS)


def test_a_closed_service_comes_back() -> None:
    ours = reranker()
    before = ranking(ours.postprocess_nodes(nodes(), query_str=QUERY))
    close_shared_rerankers()
    assert ranking(ours.postprocess_nodes(nodes(), query_str=QUERY)) == before


# Other processes


@pytest.mark.long
def test_spawned_processes_give_the_same_scores(tmp_path: Path) -> None:
    output = run_script(
        tmp_path,
        "import json, multiprocessing, sys\n"
        "from llama_index.core.schema import NodeWithScore, TextNode\n"
        "from llama_index.postprocessor.akidb import MLXRerank\n"
        "def rerank(r, query, texts):\n"
        "    nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]\n"
        "    return [(one.text, one.score) for one in r.postprocess_nodes(nodes, query_str=query)]\n"
        "if __name__ == '__main__':\n"
        "    model, query, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])\n"
        "    r = MLXRerank(model, top_n=None)\n"
        "    here = rerank(r, query, texts)\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        there, form = pool.apply(rerank, (r, query, texts)), pool.apply(r.to_dict)\n"
        "    print(there == here, form == r.to_dict())\n",
        str(RERANKER),
        QUERY,
        json.dumps(PASSAGES),
    )
    assert output.split() == ["True", "True"]


@pytest.mark.long
def test_neither_import_nor_construction_loads_a_model() -> None:
    output = run_python(
        "import sys, copy, pickle\n"
        "import akidb_embeddings\n"
        "print([name for name in sys.modules if name.startswith('llama_index')])\n"
        "import llama_index.core.postprocessor.types\n"
        "before = set(sys.modules)\n"
        "from llama_index.postprocessor.akidb import MLXRerank\n"
        f"r = MLXRerank({str(RERANKER)!r}, max_length=64)\n"
        "assert pickle.loads(pickle.dumps(r)) == r == copy.deepcopy(r) == r.model_copy()\n"
        "assert r.postprocess_nodes([], query_str='a') == []\n"
        "repr(r), r.to_dict(), r.model_dump(), r.config\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'mlx', 'tokenizers', 'huggingface_hub', 'torch', 'transformers', 'tqdm'}))\n"
        "print(sorted(set(sys.modules) & {'mlx', 'tokenizers', 'akidb_embeddings.reranking.service'}))\n"
        "print('llama_index.embeddings.akidb' in sys.modules)\n"
    )
    assert output.splitlines() == ["[]", "[]", "[]", "False"]
