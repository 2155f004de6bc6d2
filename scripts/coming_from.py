"""Write docs/coming-from.md: what becomes of the arguments of other libraries' classes, from the adapters' own tables.

The prose is in ``coming_from.md.in`` beside this file. Run: ``python scripts/coming_from.py``; it needs the adapters.
"""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from haystack_integrations.components.embedders.akidb.arguments import MOVING as HAYSTACK
from langchain_akidb.arguments import MOVING as LANGCHAIN
from langchain_akidb.rerank_arguments import MOVING as LANGCHAIN_RERANK
from llama_index.embeddings.akidb.arguments import MOVING as LLAMA_INDEX
from llama_index.postprocessor.akidb.arguments import MOVING as LLAMA_INDEX_RERANK

TEMPLATE = Path(__file__).with_suffix(".md.in")
CLASSES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "LangChain": {**LANGCHAIN, **LANGCHAIN_RERANK},
    "LlamaIndex": {**LLAMA_INDEX, **LLAMA_INDEX_RERANK},
    "Haystack": HAYSTACK,
}
"""The classes of each framework; both have one called ``CohereRerank``."""
PAGE = Path(__file__).resolve().parent.parent / "docs" / "coming-from.md"


def page() -> str:
    """The whole of ``docs/coming-from.md``."""
    tables = {
        f"{framework}_{name}": _table(arguments)
        for framework, classes in CLASSES.items()
        for name, arguments in classes.items()
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(tables)


def _table(arguments: Mapping[str, str]) -> str:
    """A row for each thing that becomes of arguments; those of which the same becomes share it."""
    rows: dict[str, list[str]] = {}
    for argument, becomes in arguments.items():
        rows.setdefault(becomes, []).append(f"`{argument}`")
    lines = [f"| {', '.join(names)} | {_escaped(becomes)} |" for becomes, names in rows.items()]
    return "\n".join(["| argument | here |", "|---|---|", *lines])


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(PAGE.parent.parent))
