"""Model folders of every tokenizer family, with changes of their files.

Standard library alone, so that both the oracle (``tokenizer_ids.py``) and the tests build the same folders.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODELS = Path(__file__).resolve().parent.parent / "data" / "models"
# File -> entries; None removes an entry or a file. A list is the whole content.
Change = Mapping[str, Any]

CONFIG, SETTINGS, TOKENIZER = "config.json", "tokenizer_config.json", "tokenizer.json"

TEXTS = (
    "",
    " ",
    "The cat sat.",
    "  two  spaces   three ",
    "Caf\u00e9 CR\u00c8ME \u00fcnder",
    "\u6f22\u5b57kanji \u30cf\u30ed\u30fc",
    "It's\n\tnew\u0000 line\u200b",
    "[CLS] the [SEP] a[MASK] [UNK] [PAD]",
    "<s>the</s> a <mask> <unk> <pad>",
    "<|endoftext|>the <|im_end|>",
    "<bos>the <eos>",
    "a <ent> b<ent>c",
    "<ent>",
    "the NewToken newtoken NEWTOKEN.",
    "the <Img> keeper keepers",
    "\ufb01ne \u00bd \uff21\uff22\uff23",
    "a" * 120,
    "hello world 123",
)


def settings(**entries: Any) -> Change:
    return {SETTINGS: entries}


def both(*changes: Change) -> Change:
    """All changes in one."""
    result: dict[str, Any] = {}
    for change in changes:
        for file, entries in change.items():
            mergeable = isinstance(entries, dict) and isinstance(result.get(file), dict)
            result[file] = result[file] | entries if mergeable else entries
    return result


_SENTENCEPIECE = {
    "normalizer": None,
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}},
    },
}
_ROBERTA = {
    "normalizer": None,
    "post_processor": {
        "type": "RobertaProcessing", "sep": ["[SEP]", 401], "cls": ["[CLS]", 400], "trim_offsets": True,
        "add_prefix_space": False,
    },
}  # fmt: skip
# By name: the folder of config.json and weights, the folder of the tokenizer, and what is changed in both.
FAMILIES: Mapping[str, tuple[str, str, Change]] = {
    "bert": ("tiny-bert", "tiny-bert", {}),
    "mpnet": ("tiny-mpnet", "tiny-mpnet", {}),
    "nomic": ("tiny-nomic-bert", "tiny-nomic-bert", {}),
    "qwen3": ("tiny-qwen3", "tiny-qwen3", {}),
    "pplx": ("tiny-pplx", "tiny-pplx", {}),
    "gemma": ("tiny-gemma3", "tiny-gemma3", {}),
    "modernbert": ("tiny-modernbert", "tiny-modernbert", {}),
    "xlm-roberta": ("tiny-xlm-roberta", "tiny-xlm-roberta", {}),
    # What transformers 4 writes for fine-tunes of paraphrase-multilingual-MiniLM-L12-v2.
    "bert-unigram": ("tiny-bert", "tiny-xlm-roberta", settings(tokenizer_class="BertTokenizer")),
    # Llama 3's form: bytes.
    "llama-bytes": ("tiny-llama", "tiny-llama", settings(tokenizer_class="PreTrainedTokenizerFast")),
    # Llama 2's and Mistral's form.
    "llama": (
        "tiny-llama",
        "tiny-gemma3",
        both(
            {TOKENIZER: _SENTENCEPIECE},
            settings(tokenizer_class="LlamaTokenizer", legacy=False, add_bos_token=True, add_eos_token=False),
        ),
    ),
    "roberta": (
        "tiny-bert",
        "tiny-modernbert",
        both({TOKENIZER: _ROBERTA}, settings(tokenizer_class="RobertaTokenizer", add_prefix_space=False)),
    ),
}
WORDPIECE = ("bert", "mpnet", "nomic")
# The first free id of each family.
NEXT_ID = {
    "bert": 400, "mpnet": 401, "nomic": 400, "qwen3": 400, "pplx": 400, "gemma": 500, "modernbert": 404,
    "xlm-roberta": 400, "bert-unigram": 400, "llama-bytes": 400, "llama": 500, "roberta": 404,
}  # fmt: skip


def write_folder(folder: Path, family: str, change: Change) -> Path:
    """Write a model folder of ``family`` with ``change``."""
    model, tokenizer, own = FAMILIES[family]
    shutil.copytree(MODELS / model, folder, ignore=shutil.ignore_patterns("config.*.json", "*.safetensors"))
    for weights in (MODELS / model).rglob("*.safetensors"):
        (folder / weights.relative_to(MODELS / model)).symlink_to(weights)
    for name in (TOKENIZER, SETTINGS):
        shutil.copy(MODELS / tokenizer / name, folder / name)
    for one in (own, change):
        for name, entries in one.items():
            _edit(folder / name, entries)
    return folder


def _edit(file: Path, entries: Any) -> None:
    if entries is None:
        file.unlink()
        return
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for key, value in entries.items():
        if key == "model":
            content["model"] |= value
        elif value is None and file.name != TOKENIZER:
            content.pop(key, None)
        else:
            content[key] = None if value == "null" else value
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


# Folders and changes of which there are vectors.
VECTOR_CASES = (
    ("bert", "cased, tokenizer.json lowercases; no class"),
    ("bert", "cased, tokenizer.json lowercases; ElectraTokenizer"),
    ("bert", "split_special_tokens True"),
    ("qwen3", "a post_processor that adds nothing"),
    ("qwen3", "split_special_tokens True"),
    ("xlm-roberta", "split_special_tokens True"),
    ("modernbert", "added_tokens.json: a word"),
)
