"""What transformers' tokenizer classes add to tokenizer.json, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The keys of special tokens, in the order in which transformers adds them."""


BERT_SETTINGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")


@dataclass(frozen=True)
class TokenizerClass:
    """A tokenizer class of transformers, without ``Fast`` in its name.

    Attributes:
        models: The kinds of tokenizer.json's model that it is made for.
        special_tokens: The special tokens that tokenizer_config.json need not give, by key.
        flags: The flags of those that tokenizer_config.json or the class gives as text, by key; "" is for all keys.
        bert_settings: The settings in tokenizer_config.json that take precedence over tokenizer.json's normalizer.
        prefix_space: Whether ``add_prefix_space`` takes precedence over tokenizer.json, in both transformers 4 and 5.
        adds_bos: Whether transformers 4 takes the first and last token from ``add_bos_token`` (this is its default) and
            ``add_eos_token``, not from tokenizer.json; None if it does not.
        bert_in_4: Whether transformers 4 alone applies BERT's settings.
        token_types: Whether transformers 5 gives the model token types.
    """

    models: tuple[str, ...]
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    bert_settings: tuple[str, ...] = ()
    prefix_space: bool = False
    adds_bos: bool | None = None
    bert_in_4: bool = False
    token_types: bool = False


_BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_FUNNEL_TOKENS = _ROBERTA_TOKENS | {"sep_token": "<sep>", "cls_token": "<cls>"}
_LLAMA_TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
_END_OF_TEXT = "<|endoftext|>"
_GPT2_TOKENS = {"unk_token": _END_OF_TEXT, "bos_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT}
_QWEN_TOKENS = {"unk_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT, "pad_token": _END_OF_TEXT}
_GEMMA_TOKENS = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
_COHERE_TOKENS = {"unk_token": "<UNK>", "bos_token": "<BOS_TOKEN>", "eos_token": "<|END_OF_TURN_TOKEN|>"}
_BERT = TokenizerClass(("WordPiece",), _BERT_TOKENS, bert_settings=BERT_SETTINGS, token_types=True)
# transformers 5 reads their tokenizer.json as it is.
_BERT_UNTIL_4 = TokenizerClass(("WordPiece",), _BERT_TOKENS, bert_in_4=True, token_types=True)

TOKENIZER_CLASSES: Mapping[str, TokenizerClass] = {
    **dict.fromkeys(
        (
            *("BertTokenizer", "ElectraTokenizer", "LayoutLMTokenizer", "LxmertTokenizer"),
            *("MobileBertTokenizer", "SqueezeBertTokenizer"),
        ),
        _BERT,
    ),
    **dict.fromkeys(("DistilBertTokenizer", "SplinterTokenizer"), replace(_BERT, token_types=False)),
    **dict.fromkeys(
        (
            *("ConvBertTokenizer", "RetriBertTokenizer", "RealmTokenizer", "DPRReaderTokenizer"),
            *("DPRContextEncoderTokenizer", "DPRQuestionEncoderTokenizer"),
        ),
        _BERT_UNTIL_4,
    ),
    "MPNetTokenizer": TokenizerClass(
        ("WordPiece",),
        _ROBERTA_TOKENS | {"unk_token": "[UNK]"},
        {"": {"lstrip": False}, "mask_token": {"lstrip": True}},
        bert_settings=BERT_SETTINGS[:2],
    ),
    "FunnelTokenizer": TokenizerClass(("WordPiece",), _FUNNEL_TOKENS, bert_settings=BERT_SETTINGS),
    "XLMRobertaTokenizer": TokenizerClass(("Unigram",), _ROBERTA_TOKENS, {"mask_token": {"lstrip": True}}),
    "RobertaTokenizer": TokenizerClass(
        ("BPE",), _ROBERTA_TOKENS, {"mask_token": {"lstrip": True, "normalized": False}}, prefix_space=True
    ),
    "GPT2Tokenizer": TokenizerClass(("BPE",), _GPT2_TOKENS, prefix_space=True),
    "GPTNeoXTokenizer": TokenizerClass(("BPE",), _GPT2_TOKENS, prefix_space=True, adds_bos=False),
    "Qwen2Tokenizer": TokenizerClass(
        ("BPE",), _QWEN_TOKENS, {"": {"special": True, "normalized": False}}, prefix_space=True
    ),
    "GemmaTokenizer": TokenizerClass(("BPE",), _GEMMA_TOKENS, adds_bos=True),
    "LlamaTokenizer": TokenizerClass(("BPE",), _LLAMA_TOKENS, adds_bos=True),
    "CohereTokenizer": TokenizerClass(("BPE",), _COHERE_TOKENS, adds_bos=True),
}
ANY_TOKENIZER = TokenizerClass(("WordPiece", "Unigram", "BPE", "WordLevel"))
"""The classes that read tokenizer.json as it is."""
GENERIC_IN_4 = "PreTrainedTokenizer"
"""What transformers 4 writes for a tokenizer without a class; transformers 5 writes TokenizersBackend."""
READS_TOKENIZER_JSON = (GENERIC_IN_4, "TokenizersBackend", "PythonBackend")

# By config.json's model_type, for folders that name no class.
_DEFAULT_CLASSES = {
    "bert": "BertTokenizer",
    "nomic_bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "mpnet": "MPNetTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "gte": "XLMRobertaTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "gpt2": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer",
    "cohere": "CohereTokenizer",
    "cohere2": "CohereTokenizer",
}
# The same in transformers 4, where it differs.
_DEFAULT_CLASSES_IN_4 = {"llama": "LlamaTokenizer", "mistral": "LlamaTokenizer", "mixtral": "LlamaTokenizer"}
# Architectures whose published folders name wrong classes, which transformers 5 ignores.
_CLASS_IGNORED = ("modernbert",)


def tokenizer_class_name(model_type: str, given: str | None) -> str:
    """The name of the class, without ``Fast``.

    Args:
        model_type: config.json's.
        given: The class that the folder names, if it does.
    """
    if model_type in _CLASS_IGNORED or not given:
        given = _DEFAULT_CLASSES.get(model_type, GENERIC_IN_4)
    return given.removesuffix("Fast")


def class_in_transformers_4(model_type: str, given: str | None) -> str | None:
    """The name of the class in transformers 4, without ``Fast``; None if it is the same as in transformers 5."""
    name = given or _DEFAULT_CLASSES_IN_4.get(model_type)
    return name.removesuffix("Fast") if name else None
