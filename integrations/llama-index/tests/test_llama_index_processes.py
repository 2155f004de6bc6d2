"""MLXEmbedding in other processes, a pipeline's included: the same vectors, or what to do instead of a fork."""

import json
import sys
from pathlib import Path

import pytest
from llama_index_helpers import DECIDING, MODEL, TEXTS, run_script
from llama_index_helpers import no_noise as no_noise
from llama_index_helpers import no_settings as no_settings

from tests.conftest import run_python


@pytest.mark.long
def test_spawned_processes_give_the_same_vectors(tmp_path: Path) -> None:
    output = run_script(
        tmp_path,
        "import json, multiprocessing, sys\n"
        "from llama_index.embeddings.akidb import MLXEmbedding\n"
        "def embed(e, texts):\n"  # not the bound method: LlamaIndex wraps it in what cannot be pickled
        "    return [e.get_text_embedding(text) for text in texts]\n"
        "if __name__ == '__main__':\n"
        "    settings, texts = map(json.loads, sys.argv[1:])\n"
        "    e = MLXEmbedding(**settings)\n"
        "    here = embed(e, texts)\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        there, form = pool.apply(embed, (e, texts)), pool.apply(e.to_dict)\n"
        "    print(there == here, form == e.to_dict())\n",
        json.dumps({"model_name": MODEL} | DECIDING),
        json.dumps(TEXTS),
    )
    assert output.split() == ["True", "True"]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, system libraries do not survive a fork")
def test_a_fork_after_use_is_told_to_use_spawn() -> None:
    output = run_python(
        "import asyncio, multiprocessing, warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)  # from 3.12 on, Python itself warns of such forks\n"
        "from llama_index.embeddings.akidb import MLXEmbedding\n"
        f"e = MLXEmbedding({MODEL!r})\n"
        "form, before = e.to_dict(), e.get_text_embedding('a')\n"
        "def child(queue):\n"
        "    assert e.to_dict() == form\n"
        "    ways = [\n"
        "        lambda: e.get_text_embedding('a'),\n"
        "        lambda: e.get_text_embedding_batch(['a', 'b']),\n"
        "        lambda: asyncio.run(e.aget_query_embedding('a')),\n"
        f"        lambda: MLXEmbedding({MODEL!r}, dimensions=8, untrained_dimensions=True).get_query_embedding('a'),\n"
        "    ]\n"
        "    for way in ways:\n"
        "        try:\n"
        "            queue.put(('no error', way()))\n"
        "        except Exception as error:\n"
        "            queue.put((type(error).__name__, str(error)))\n"
        "context = multiprocessing.get_context('fork')\n"
        "queue = context.Queue()\n"
        "process = context.Process(target=child, args=(queue,))\n"
        "process.start()\n"
        "answers = [queue.get(timeout=20) for _ in range(4)]\n"
        "process.join(20)\n"
        "for name, message in answers:\n"
        "    assert name == 'WorkerError' and 'spawn' in message, (name, message)\n"
        "assert process.exitcode == 0 and e.get_text_embedding('a') == before\n"
    )
    assert output == ""


PROGRAM = """
import asyncio, multiprocessing, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on, Python itself warns of forks beside threads
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode
from llama_index.embeddings.akidb import MLXEmbedding

TEXTS = [f"This is text {number}." for number in range(6)]

def run(pipeline, way):
    nodes = [TextNode(text=text) for text in TEXTS]
    if way == "run":
        return pipeline.run(nodes=nodes, num_workers=2)
    return asyncio.run(pipeline.arun(nodes=nodes, num_workers=2))

def main(is_used):
    e = MLXEmbedding("minilm-l6-v2", document_prompt="passage: ")
    if is_used:
        e.get_text_embedding("a")
        is_forked = multiprocessing.get_start_method() == "fork"
        try:
            run(IngestionPipeline(transformations=[e]), "arun")
            assert not is_forked
        except Exception as error:
            assert is_forked, error
            print(type(error).__name__, error)
        multiprocessing.set_start_method("spawn", force=True)
    found = {way: [node.embedding for node in run(IngestionPipeline(transformations=[e]), way)] for way in WAYS}
    # A process gets three texts.
    here = [*e.get_text_embedding_batch(TEXTS[:3]), *e.get_text_embedding_batch(TEXTS[3:])]
    for way, vectors in found.items():
        assert vectors == here, way
    print("all right")
"""
CALL = """
if __name__ == "__main__":
    main({is_used})
"""


@pytest.mark.long
def test_processes_of_a_program_that_has_not_embedded_yet(tmp_path: Path) -> None:
    program = PROGRAM.replace("WAYS", "('arun', 'run')") + CALL.format(is_used=False)
    assert run_script(tmp_path, program) == "all right\n"


@pytest.mark.long
def test_processes_of_a_program_that_has(tmp_path: Path) -> None:
    """``arun`` makes processes as the platform does by default; forks of one that runs MLX are told what to do."""
    program = PROGRAM.replace("WAYS", "('arun',)") + CALL.format(is_used=True)
    *told, last = run_script(tmp_path, program).splitlines()
    assert last == "all right"
    if sys.platform == "linux" and sys.version_info < (3, 14):
        assert len(told) == 1
        assert told[0].startswith("WorkerError")
        assert "spawn" in told[0]
