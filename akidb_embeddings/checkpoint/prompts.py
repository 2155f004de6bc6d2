"""A model's prompts: by name, and with an instruction of the caller's own in the place of the trained one."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from akidb_embeddings.errors import ConfigurationError

# sentence-transformers' names for the prompt of a document, in its order.
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")

# Query prompts that hold an instruction. Models differ in the white space around it, and it decides vectors: Qwen3 has
# no space after "Query:", Harrier and E5 have one. So a model's own prompt is kept, and only its instruction replaced.
_INSTRUCTIONS = (
    re.compile(r"Instruct: ?(?P<task>\S.*?)\s*\n\s*Query: ?", re.DOTALL),
    re.compile(r"task: (?P<task>[^|\s][^|]*?) \| query: ?"),
)


def with_query_and_document(trained: Mapping[str, str]) -> dict[str, str]:
    """The model's ``own`` prompts, with ``query`` and ``document`` always among them, empty where it has none.

    A prompt for queries under another name, such as Harrier's ``web_search_query``, is not taken for ``query``:
    sentence-transformers does not either, and which of several is meant is for the caller to say.
    """
    documents = [trained[name] for name in _DOCUMENT_PROMPTS if name in trained]
    # Not the default prompt: sentence-transformers keeps it for texts of which nobody says what they are.
    prompts = dict(trained) | {"document": documents[0] if documents else ""}
    prompts.setdefault("query", "")
    return prompts


def find_prompt(prompts: Mapping[str, str], name: str, field: str = "prompt_name") -> str:
    """The prompt called ``name``; ConfigurationError says what ``field`` may be, and what may have been meant."""
    if isinstance(name, str) and name in prompts:
        return prompts[name]
    known = ", ".join(map(repr, prompts))
    # By their small letters: "sts" is near to "STS" for people only.
    lowercase = {one.lower(): one for one in prompts}
    nearest = get_close_matches(str(name).lower(), lowercase, n=1)
    suggestion = f" Did you mean {lowercase[nearest[0]]!r}?" if nearest else ""
    raise ConfigurationError(
        field=field,
        reason=f"is {name!r}; this model has {known}.{suggestion}",
        hint=f"Or give {{{field.removesuffix('_name')}}}=TEXT.",
    )


def instruct(trained: Mapping[str, str], task: str, prefix: str = "") -> str:
    """The prompt of queries with ``task`` as its instruction, white space around it removed.

    Its form is that of the query prompt among the model's ``own``, or, where it has none, of all its prompts that hold
    an instruction, if they agree. ConfigurationError: there is no such form; ``prefix`` begins the names of what else
    may be given.
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
    """What stands before and after a prompt's instruction; None: it has none."""
    for pattern in _INSTRUCTIONS:
        if found := pattern.fullmatch(prompt):
            begin, end = found.span("task")
            return prompt[:begin], prompt[end:]
    return None
