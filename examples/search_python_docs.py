"""Index Python's own language reference and answer questions from it, offline, with the bundled model.

The reference comes with Python, in ``pydoc_data.topics``: what ``help("async")`` prints. It is cut into passages,
each is embedded once, and a question's nearest passages are its answers.

Run: ``make demo``, or ``python examples/search_python_docs.py "your question"``.
"""

import re
import sys
import textwrap
import time
from collections.abc import Iterator
from pydoc_data.topics import topics

from tqdm import tqdm

from akidb_embeddings import EmbeddingService

QUESTIONS = [
    "how do I await a coroutine?",
    "what happens when no except clause matches the exception?",
    "how can a class control access to its attributes?",
    "does integer division round down?",
    "how do I give a function parameter a default value?",
]
PASSAGE_WORDS = 120


def passages() -> Iterator[tuple[str, str]]:
    """(topic, passage) for the whole reference: paragraphs, gathered up to ``PASSAGE_WORDS`` words."""
    for topic, text in topics.items():
        gathered: list[str] = []
        for paragraph in re.split(r"\n\s*\n", text):
            if gathered and len(" ".join([*gathered, paragraph]).split()) > PASSAGE_WORDS:
                yield topic, " ".join(gathered)
                gathered = []
            gathered.append(" ".join(paragraph.split()))
        if gathered:
            yield topic, " ".join(gathered)


def main() -> None:
    questions = sys.argv[1:] or QUESTIONS
    # Topics repeat whole sections of each other; a passage is indexed under the first topic that has it.
    topic_of = {passage: topic for topic, passage in reversed(list(passages()))}
    found = [(topic, passage) for passage, topic in topic_of.items()]
    print("Loading minilm-l6-v2, the bundled model …", flush=True)
    with EmbeddingService("minilm-l6-v2") as service:
        print(f"Indexing {len(found)} passages of Python's language reference …", flush=True)
        start = time.perf_counter()
        with tqdm(total=len(found), unit=" passages") as bar:
            texts = [passage for _, passage in found]
            index = service.encode(texts, prompt_name="document", progress=bar.update)
        seconds = time.perf_counter() - start
        print(
            f"Indexed {len(found)} passages ({sum(index.token_counts)} tokens, {index.vectors.shape[1]} dimensions) "
            f"in {seconds:.1f} s: {len(found) / seconds:.0f} passages a second."
        )
        for question in questions:
            scores = index.vectors @ service.embed_query(question)
            print(f"\n{question}")
            for rank in scores.argsort()[::-1][:3]:
                topic, passage = found[rank]
                print(f"  {scores[rank]:.3f}  [{topic}] {textwrap.shorten(passage, 150)}")


if __name__ == "__main__":
    main()
