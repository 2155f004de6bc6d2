"""What Qwen3-Reranker's authors do with a pair, from the card of the 0.6B, and its files for sentence-transformers.

The card allows 8192 tokens; here it is as many as the model has positions.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from jsonfile import read_json, write_json
from transformers import AutoModelForCausalLM, AutoTokenizer

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
BODY = "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

# The template of the published tokenizer: the prompt of the card from messages of the roles ``query`` and
# ``document``, with a ``system`` message for the instruction. Jinja takes the last newline away.
CHAT_TEMPLATE = (
    '{%- set instruction = messages | selectattr("role", "eq", "system") | map(attribute="content") | first'
    f' | default("{INSTRUCTION}") -%}}\n'
    '{%- set query_text = messages | selectattr("role", "eq", "query") | map(attribute="content") | first -%}\n'
    '{%- set document_text = messages | selectattr("role", "eq", "document") | map(attribute="content") | first -%}\n'
    + PREFIX
    + BODY.format(instruction="{{ instruction }}", query="{{ query_text }}", document="{{ document_text }}")
    + SUFFIX
    + "\n"
)


class QwenReranker:
    """The functions ``format_instruction``, ``process_inputs`` and ``compute_logits`` of the card, for one pair."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), padding_side="left", local_files_only=True)
        options: dict[str, Any] = {"attn_implementation": "eager", "dtype": torch.float32, "local_files_only": True}
        self.model = AutoModelForCausalLM.from_pretrained(str(folder), **options).eval()
        self.yes, self.no = (self.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
        self.prefix, self.suffix = (self.tokenizer.encode(text, add_special_tokens=False) for text in (PREFIX, SUFFIX))
        self.max_length: int = self.model.config.max_position_embeddings

    def ids(self, query: str, document: str, instruction: str = INSTRUCTION, *, truncate: bool = True) -> list[int]:
        body = BODY.format(instruction=instruction, query=query, document=document)
        room = self.max_length - len(self.prefix) - len(self.suffix)
        options = {"truncation": "longest_first", "max_length": room} if truncate else {}
        inner: list[int] = self.tokenizer(body, padding=False, return_attention_mask=False, **options)["input_ids"]
        return self.prefix + inner + self.suffix

    def no_and_yes(self, ids: list[int]) -> torch.Tensor:
        """The logits of ``no`` and ``yes`` [2] at the last token."""
        with torch.inference_mode():
            logits: torch.Tensor = self.model(input_ids=torch.tensor([ids])).logits[0, -1]
        return logits[[self.no, self.yes]]


def write_published_files(folder: Path, copy: Path, yes: int, no: int) -> None:
    """``copy`` gets the model and what the published repository has for sentence-transformers since its 5.4."""
    shutil.copytree(folder, copy)
    settings = read_json(folder / "tokenizer_config.json")
    write_json(copy / "tokenizer_config.json", settings | {"chat_template": CHAT_TEMPLATE})
    modules = {
        "": "base.modules.transformer.Transformer",
        "1_LogitScore": "cross_encoder.modules.logit_score.LogitScore",
    }
    write_json(
        copy / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.{kind}"}
            for index, (path, kind) in enumerate(modules.items())
        ],
    )
    forward = {"method": "forward", "method_output_name": "logits"}
    transformer = {
        "transformer_task": "text-generation",
        "modality_config": {"text": forward, "message": forward | {"format": "flat"}},
        "module_output_name": "causal_logits",
    }
    write_json(copy / "sentence_bert_config.json", transformer)
    (copy / "1_LogitScore").mkdir()
    score = {"true_token_id": yes, "false_token_id": no, "module_input_name": "causal_logits"}
    write_json(copy / "1_LogitScore" / "config.json", score)
    pipeline = {
        "activation_fn": "torch.nn.modules.linear.Identity",
        "default_prompt_name": "query",
        "model_type": "CrossEncoder",
        "prompts": {"query": INSTRUCTION},
    }
    write_json(copy / "config_sentence_transformers.json", pipeline)
