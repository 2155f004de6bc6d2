"""What the files of a reranker do not say by themselves, written into its converted folder.

That is what only the registry knows, and that a language model is a reranker. The files are those of
sentence-transformers, which reads them all, or none if there is no modules.json.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.folder import PROMPTS_FILE
from akidb_embeddings.checkpoint.frame import DEFAULT_INSTRUCTION, FRAME, framed_pair, has_frame
from akidb_embeddings.checkpoint.modules import LOGIT_SCORE
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint, read_reranker
from akidb_embeddings.conversion.folder_writer import write_json

_ACTIVATIONS = {
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
    "identity": "torch.nn.modules.linear.Identity",
}
_TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
_SCORE = f"sentence_transformers.cross_encoder.modules.logit_score.{LOGIT_SCORE}"
_FORWARD = {"method": "forward", "method_output_name": "logits"}
_CLASSIFIER_TASK = {
    "transformer_task": "sequence-classification",
    "modality_config": {"text": _FORWARD},
    "module_output_name": "scores",
}
_LANGUAGE_MODEL_TASK = {
    "transformer_task": "text-generation",
    "modality_config": {"text": _FORWARD, "message": {**_FORWARD, "format": "flat"}},
    "module_output_name": "causal_logits",
}
# What the default prompt is called: the authors' name, unless the folder has another prompt of that name.
_PROMPTS = ("query", "default", DEFAULT_INSTRUCTION)
# Qwen3-Reranker's own, to the byte, since ``frame`` knows it by its hash.
_TEMPLATE = (
    '{%- set instruction = messages | selectattr("role", "eq", "system") | map(attribute="content") | first'
    f' | default("{DEFAULT_INSTRUCTION}") -%}}\n'
    '{%- set query_text = messages | selectattr("role", "eq", "query") | map(attribute="content") | first -%}\n'
    '{%- set document_text = messages | selectattr("role", "eq", "document") | map(attribute="content") | first -%}\n'
    + FRAME.before
    + framed_pair("{{ instruction }}", "{{ query_text }}", "{{ document_text }}")
    + FRAME.after
    + "\n"
)


def write_score_settings(checkpoint: RerankerCheckpoint, folder: Path) -> None:
    """Write the files of sentence-transformers, unless the source's already say all.

    Args:
        checkpoint: The source.
        folder: The new folder, with the source's files.
    """
    if _is_complete(checkpoint):
        return
    source, answers = checkpoint.folder, checkpoint.answers
    task = _CLASSIFIER_TASK if answers is None else _LANGUAGE_MODEL_TASK
    limit = {"max_seq_length": checkpoint.max_tokens}
    write_json(folder / source.transformer.file, {**task, **source.transformer.settings, **limit})
    modules = {"": _TRANSFORMER}
    if answers is not None:
        place = next((step.folder.name for step in source.steps if step.kind == LOGIT_SCORE), f"1_{LOGIT_SCORE}")
        modules[place] = _SCORE
        tokens = dict(zip(("true_token_id", "false_token_id"), answers, strict=True))
        write_json(folder / place / "config.json", {**tokens, "module_input_name": task["module_output_name"]})
    write_json(
        folder / "modules.json",
        [{"idx": at, "name": str(at), "path": path, "type": kind} for at, (path, kind) in enumerate(modules.items())],
    )
    write_json(folder / PROMPTS_FILE, {**source.description, **_description(checkpoint)})
    if checkpoint.framed and not has_frame(source, is_language_model=False):
        # A file of its own takes precedence over the template for chats in tokenizer_config.json.
        (folder / "chat_template.jinja").write_text(_TEMPLATE, encoding="utf-8", newline="")


def _is_complete(checkpoint: RerankerCheckpoint) -> bool:
    """Whether the source's files say all by themselves: what kind of model it is, and what the registry knows."""
    alone = read_reranker(checkpoint.path)
    is_told = checkpoint.answers is None or any(step.kind == LOGIT_SCORE for step in checkpoint.folder.steps)
    return is_told and all(
        getattr(alone, name) == getattr(checkpoint, name) for name in ("activation", "default_prompt", "max_tokens")
    )


def _description(checkpoint: RerankerCheckpoint) -> Mapping[str, Any]:
    """The entries of config_sentence_transformers.json."""
    entries: dict[str, Any] = {"model_type": "CrossEncoder", "activation_fn": _ACTIVATIONS[checkpoint.activation]}
    text, own = checkpoint.default_prompt, checkpoint.folder.description
    if text and own.get("default_prompt_name") is None:
        name = next(name for name in _PROMPTS if checkpoint.prompts.get(name, text) == text)
        entries |= {"prompts": {**checkpoint.prompts, name: text}, "default_prompt_name": name}
    return entries
