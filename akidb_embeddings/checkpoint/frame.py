"""The question to a language model in which a pair is put, as Qwen3-Reranker was trained.

Its authors give it as code (the model's page, "Transformers Usage") and, since April 2026, as a chat template with the
roles ``query`` and ``document``. Both render the same text. No template is executed here: the known one is recognized.
"""

import hashlib
from typing import NamedTuple

from akidb_embeddings.checkpoint.folder import ModelFolder
from akidb_embeddings.errors import CheckpointError

DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
_TEMPLATE_FILE = "chat_template.jinja"
_LARGEST_TEMPLATE = 2**20  # bytes
# The SHA-256 of the template in Qwen/Qwen3-Reranker-0.6B.
_KNOWN_TEMPLATE = "6f682162495ec5b39fd9005c01b6aa2a74669379fe967039f1e2cbbe8752369d"
_ROLES = '"query"', '"document"'


class Frame(NamedTuple):
    """What precedes and follows a pair.

    Attributes:
        before: The text before it, never cut.
        after: The text after it, never cut.
    """

    before: str
    after: str


FRAME = Frame(
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
)


def framed_pair(instruction: str, query: str, document: str) -> str:
    """The text within the frame, whose end is cut if it is too long."""
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"


def has_frame(folder: ModelFolder, *, is_language_model: bool) -> bool:
    """Whether pairs are put into the frame.

    Those of language models are: a folder without a template for pairs is read as its authors' code does. Those of
    classifiers are if the folder has the known template.

    Raises:
        CheckpointError: The folder has another template for pairs.
    """
    template = _template(folder)
    if hashlib.sha256(template.encode()).hexdigest() == _KNOWN_TEMPLATE:
        return True
    if all(role in template.replace("'", '"') for role in _ROLES):
        raise CheckpointError(
            f"{folder.path} has a chat template for pairs of query and document that is not known here. Templates are "
            "not executed, so its scores would differ from the authors'. Supported: that of Qwen3-Reranker."
        )
    return is_language_model


def _template(folder: ModelFolder) -> str:
    """The folder's chat template, from its own file, else tokenizer_config.json; "" if there is none."""
    file = folder.path / _TEMPLATE_FILE
    try:
        if file.is_file():
            with file.open(encoding="utf-8") as stream:
                return stream.read(_LARGEST_TEMPLATE)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    template = folder.tokenizer_config.get("chat_template")
    return template if isinstance(template, str) else ""
