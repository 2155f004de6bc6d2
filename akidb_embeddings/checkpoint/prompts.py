"""A model's prompts: by name, or with the caller's instruction instead of the trained one."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from akidb_embeddings.errors import ConfigurationError

DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""sentence-transformers' names for the document prompt, by precedence."""

# Query prompts with an instruction. Models differ in the white space around it, which affects vectors: Qwen3 has no
# space after "Query:", Harrier and E5 have one. So only the instruction in the model's own prompt is replaced.
_INSTRUCTIONS = (
    re.compile(r"Instruct: ?(?P<task>\S.*?)\s*\n\s*Query: ?", re.DOTALL),
    re.compile(r"task: (?P<task>[^|\s][^|]*?) \| query: ?"),
)


def with_query_and_document(trained: Mapping[str, str]) -> dict[str, str]:
    """The model's prompts, with empty ones for ``query`` and ``document`` if it has none.

    The document prompt is the first of ``document``, ``passage`` and ``corpus`` that the model has, as
    sentence-transformers documents it. In fact, its releases 5 and 6 add an empty ``document`` to every model that they
    load, and never get to ``passage``. Authors whose prompt is called so published it before that, and embed documents
    with it.

    A query prompt with another name, such as Harrier's ``web_search_query``, does not become ``query``, as in
    sentence-transformers: there may be several, and the caller has to choose.
    """
    documents = [trained[name] for name in DOCUMENT_PROMPTS if name in trained]
    # Not the default prompt, which sentence-transformers uses for texts that are neither queries nor documents.
    prompts = dict(trained) | {"document": documents[0] if documents else ""}
    prompts.setdefault("query", "")
    return prompts


def passage_prompt(trained: Mapping[str, str]) -> str | None:
    """The name of the prompt for documents, if it is not ``document``; None if ``document`` is not empty, either."""
    found = next((name for name in DOCUMENT_PROMPTS if trained.get(name)), None)
    return None if found == "document" else found


def find_prompt(prompts: Mapping[str, str], name: str, field: str = "prompt_name") -> str:
    """The prompt ``name``.

    Args:
        prompts: Prompts by name.
        name: The name of the prompt.
        field: The argument or setting that gave the name.

    Raises:
        ConfigurationError: There is no such prompt. The message lists the prompts and suggests a similar one.
    """
    if isinstance(name, str) and name in prompts:
        return prompts[name]
    known = ", ".join(map(repr, prompts))
    # Lowercase, because "sts" should match "STS".
    lowercase = {one.lower(): one for one in prompts}
    nearest = get_close_matches(str(name).lower(), lowercase, n=1)
    suggestion = f" Did you mean {lowercase[nearest[0]]!r}?" if nearest else ""
    raise ConfigurationError(
        field=field,
        reason=f"is {name!r}; this model has {known}.{suggestion}",
        hint=f"Or give {{{field.removesuffix('_name')}}}=TEXT.",
    )


def instruct(trained: Mapping[str, str], task: str, prefix: str = "") -> str:
    """The query prompt with another instruction.

    The template is the model's query prompt. If it has none, the template is that of its prompts with an instruction,
    if they agree.

    Args:
        trained: The model's prompts by name.
        task: The instruction; surrounding white space is removed.
        prefix: The prefix of the arguments that the error message suggests: "query_" for settings.

    Raises:
        ConfigurationError: There is no such template.
    """
    query = trained.get("query", "")
    templates = {_template(text) for text in ([query] if query else trained.values())} - {None}
    if len(templates) == 1 and (template := templates.pop()):
        before, after = template
        return f"{before}{task.strip()}{after}"
    raise ConfigurationError(
        field="task",
        reason=f"is {task!r}, but this model's query prompt is {query!r}, which has no place for an instruction.",
        hint=f"Give {{{prefix}prompt_name}}=NAME or {{{prefix}prompt}}=TEXT instead.",
    )


def _template(prompt: str) -> tuple[str, str] | None:
    """The text before and after a prompt's instruction; None if it has none."""
    for pattern in _INSTRUCTIONS:
        if found := pattern.fullmatch(prompt):
            begin, end = found.span("task")
            return prompt[:begin], prompt[end:]
    return None
