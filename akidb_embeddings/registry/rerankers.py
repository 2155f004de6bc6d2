"""Rerankers, and those that are refused.

Revisions, sizes and limits are from the models' pages and repositories, from mteb's registry, and from other public
code that pins them. ``activation`` is what sentence-transformers 6 applies, by the files at that revision or, where
they do not say, by its rule for models with one label.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from akidb_embeddings.registry import cards
from akidb_embeddings.registry.spec import RerankerSpec, variant

_MIB = 1 << 20

_MS_MARCO_L6 = RerankerSpec(
    name="ms-marco-minilm-l6-v2",
    repo="cross-encoder/ms-marco-MiniLM-L6-v2",
    revision="233902d25c440f23af6f7d6e94d2946bac0bee0a",
    architecture="bert",
    weights="float32",
    license="Apache-2.0",
    size_bytes=91_800_000,
    description="ms-marco-MiniLM-L6-v2: small and fast",
    languages="English",
    max_tokens=512,
    activation="identity",
    card=cards.MS_MARCO_L6,
)
_BGE_BASE = RerankerSpec(
    name="bge-reranker-base",
    repo="BAAI/bge-reranker-base",
    revision="2cfc18c9415c912f9d8155881c133215df768a70",
    architecture="xlm-roberta",
    weights="float32",
    license="MIT",
    size_bytes=1_134_400_000,
    description="bge-reranker-base: 278M parameters",
    languages="Chinese, English",
    max_tokens=512,
    activation="sigmoid",
)
_GTE_MODERNBERT = RerankerSpec(
    name="gte-reranker-modernbert-base",
    repo="Alibaba-NLP/gte-reranker-modernbert-base",
    revision="f7481e6055501a30fb19d090657df9ec1f79ab2c",
    architecture="modernbert",
    weights="float32",
    license="Apache-2.0",
    size_bytes=602_000_000,
    description="gte-reranker-modernbert-base: long texts",
    languages="English",
    max_tokens=8192,
    activation="sigmoid",
    card=cards.GTE_RERANKER_MODERNBERT,
)
_QWEN3_06B = RerankerSpec(
    name="qwen3-reranker-0.6b",
    repo="Qwen/Qwen3-Reranker-0.6B",
    revision="e61197ed45024b0ed8a2d74b80b4d909f1255473",
    architecture="qwen3",
    weights="bfloat16",
    license="Apache-2.0",
    size_bytes=1_207_500_000,
    description="Qwen3-Reranker-0.6B: long texts, takes instructions",
    languages="over 100",
    max_tokens=32768,
    activation="identity",
    instruction="Given a web search query, retrieve relevant passages that answer the query",
    card=cards.QWEN3_RERANKER_06B,
)

_RERANKERS = (
    _MS_MARCO_L6,
    replace(
        _MS_MARCO_L6,
        name="ms-marco-minilm-l12-v2",
        repo="cross-encoder/ms-marco-MiniLM-L12-v2",
        revision="7b0235231ca2674cb8ca8f022859a6eba2b1c968",
        size_bytes=128 * _MIB,
        description="ms-marco-MiniLM-L12-v2: small",
        card=cards.MS_MARCO_L12,
    ),
    replace(
        _MS_MARCO_L6,
        name="mmarco-minilm-l12",
        repo="cross-encoder/mmarco-mMiniLMv2-L12-H384-v1",
        revision="1427fd652930e4ba29e8149678df786c240d8825",
        architecture="xlm-roberta",
        size_bytes=492_800_000,
        description="mmarco-mMiniLMv2-L12-H384-v1: small",
        languages="multilingual",
        card=None,
    ),
    _BGE_BASE,
    replace(
        _BGE_BASE,
        name="bge-reranker-large",
        repo="BAAI/bge-reranker-large",
        revision="55611d7bca2a7133960a6d3b71e083071bbfc312",
        size_bytes=2_261_800_000,
        description="bge-reranker-large: 560M parameters",
    ),
    replace(
        _BGE_BASE,
        name="bge-reranker-v2-m3",
        repo="BAAI/bge-reranker-v2-m3",
        revision="953dc6f6f85a1b2dbfca4c34a2796e7dde08d41e",
        license="Apache-2.0",
        size_bytes=2_293_300_000,
        description="bge-reranker-v2-m3: long texts",
        languages="multilingual",
        max_tokens=8192,
        card=cards.BGE_RERANKER_V2_M3,
    ),
    RerankerSpec(
        name="quora-distilroberta-base",
        repo="cross-encoder/quora-distilroberta-base",
        revision="f62e7a4b20b97195c2868e53ec59126df5eac743",
        architecture="roberta",
        weights="float32",
        license="Apache-2.0",
        size_bytes=334_000_000,
        description="quora-distilroberta-base: whether two questions ask the same",
        languages="English",
        max_tokens=512,
        activation="sigmoid",
    ),
    _GTE_MODERNBERT,
    replace(
        _GTE_MODERNBERT,
        name="granite-embedding-reranker-english-r2",
        repo="ibm-granite/granite-embedding-reranker-english-r2",
        revision="d09d3d6971b689bf9c23839e45a470874d46e13a",
        description="granite-embedding-reranker-english-r2: long texts",
        card=None,
    ),
    variant(
        _QWEN3_06B,
        "4 bits",
        "Qwen3-Reranker-0.6B-4bit",
        346_800_000,
        "5f324548f1d20c2b5a450f126fc6ef2fb1126524",
    ),
    _QWEN3_06B,
    replace(
        _QWEN3_06B,
        name="qwen3-reranker-4b",
        repo="Qwen/Qwen3-Reranker-4B",
        revision="22e683669bc0f0bd69640a1354a6d0aebcfeede5",
        size_bytes=8_059_000_000,
        description="Qwen3-Reranker-4B: long texts, takes instructions",
        card=cards.QWEN3_RERANKER_4B,
    ),
    replace(
        _QWEN3_06B,
        name="qwen3-reranker-8b",
        repo="Qwen/Qwen3-Reranker-8B",
        revision="77d193c791ed757ca307ee72715aa132723da912",
        size_bytes=16_393_000_000,
        description="Qwen3-Reranker-8B: long texts, takes instructions",
        card=None,
    ),
)
RERANKERS: Mapping[str, RerankerSpec] = MappingProxyType({spec.name: spec for spec in _RERANKERS})

_CUSTOM_CODE = "it needs code from its repository (auto_map), which this library does not run."
_DEBERTA = "this library has no rerankers of its architecture, DeBERTa-v2."
_GEMMA = "this library has no rerankers of its architecture, Gemma."
_QWEN2 = "this library has no rerankers of its architecture, Qwen2."
_SEQ_CLS = "its files lack the prompt around each pair. It is made from '{}', whose files have it; use that."
_ENGLISH = "'gte-reranker-modernbert-base' is English too."
_MULTILINGUAL = "'bge-reranker-v2-m3' is multilingual too."
_QWEN3 = "'qwen3-reranker-0.6b' is multilingual too."

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "jinaai/jina-reranker-v2-base-multilingual": f"{_CUSTOM_CODE} {_MULTILINGUAL}",
        "Alibaba-NLP/gte-multilingual-reranker-base": f"{_CUSTOM_CODE} {_MULTILINGUAL}",
        "BAAI/bge-reranker-v2-gemma": f"{_GEMMA} {_MULTILINGUAL}",
        "BAAI/bge-reranker-v2-minicpm-layerwise": f"{_CUSTOM_CODE} {_MULTILINGUAL}",
        "BAAI/bge-reranker-v2.5-gemma2-lightweight": f"{_CUSTOM_CODE} {_MULTILINGUAL}",
        "mixedbread-ai/mxbai-rerank-xsmall-v1": f"{_DEBERTA} {_ENGLISH}",
        "mixedbread-ai/mxbai-rerank-base-v1": f"{_DEBERTA} {_ENGLISH}",
        "mixedbread-ai/mxbai-rerank-large-v1": f"{_DEBERTA} {_ENGLISH}",
        "mixedbread-ai/mxbai-rerank-base-v2": f"{_QWEN2} {_QWEN3}",
        "mixedbread-ai/mxbai-rerank-large-v2": f"{_QWEN2} {_QWEN3}",
        "tomaarsen/Qwen3-Reranker-0.6B-seq-cls": _SEQ_CLS.format("qwen3-reranker-0.6b"),
        "tomaarsen/Qwen3-Reranker-4B-seq-cls": _SEQ_CLS.format("qwen3-reranker-4b"),
        "tomaarsen/Qwen3-Reranker-8B-seq-cls": _SEQ_CLS.format("qwen3-reranker-8b"),
    }
)
"""Known rerankers that this library cannot compute, by their repository: why, and what to use instead."""
