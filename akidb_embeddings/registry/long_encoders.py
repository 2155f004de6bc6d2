"""Encoders whose positions need no table, so that they read long texts: GTE's own, and JinaBERT."""

from dataclasses import replace

from akidb_embeddings.registry import cards
from akidb_embeddings.registry.spec import ModelSpec

_MIB = 1 << 20
_STELLA_QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query.\nQuery: "

_GTE_MULTILINGUAL = ModelSpec(
    name="gte-multilingual-base",
    repo="Alibaba-NLP/gte-multilingual-base",
    revision="ca1791e0bcc104f6db161f27de1340241b13c5a4",
    architecture="new",
    dimension=768,
    weights="float16",
    license="Apache-2.0",
    size_bytes=582 * _MIB,
    description="gte-multilingual-base: multilingual, long texts",
    pooling="cls",
    max_tokens=8192,
    matryoshka=range(128, 769),
    card=cards.GTE_MULTILINGUAL,
)
_GTE_BASE = replace(
    _GTE_MULTILINGUAL,
    name="gte-base-en-v1.5",
    repo="Alibaba-NLP/gte-base-en-v1.5",
    revision="a829fd0e060bb84554da0dfd354d0de0f7712b7f",
    weights="float32",
    size_bytes=522 * _MIB,
    description="gte-base-en-v1.5: English, long texts",
    matryoshka=(),
    card=None,
)
_JINA_EN = ModelSpec(
    name="jina-embeddings-v2-base-en",
    repo="jinaai/jina-embeddings-v2-base-en",
    revision="6e85f575bc273f1fd840a658067d0157933c83f0",
    architecture="jina_bert",
    dimension=768,
    weights="float16",
    license="Apache-2.0",
    size_bytes=262 * _MIB,
    description="jina-embeddings-v2-base-en: English, long texts",
    pooling="mean",
    max_tokens=8192,
)
_JINA_DE = replace(
    _JINA_EN,
    name="jina-embeddings-v2-base-de",
    repo="jinaai/jina-embeddings-v2-base-de",
    revision="3f9eede875721714945b6a99a3198299243cf2be",
    size_bytes=322_000_000,
    description="jina-embeddings-v2-base-de: German and English, long texts",
)

LONG_ENCODERS = (
    _GTE_MULTILINGUAL,
    _GTE_BASE,
    replace(
        _GTE_BASE,
        name="gte-large-en-v1.5",
        repo="Alibaba-NLP/gte-large-en-v1.5",
        revision="791c3b7d2979a3344292cbed11ffebd65bfb9b31",
        dimension=1024,
        size_bytes=1_740_000_000,
        description="gte-large-en-v1.5: English, long texts",
    ),
    ModelSpec(
        name="stella-en-400m-v5",
        repo="NovaSearch/stella_en_400M_v5",
        revision="2aa5579fcae1c579de199a3866b6e514bbbf5d10",
        architecture="new",
        dimension=1024,
        weights="float32",
        license="MIT",
        size_bytes=1_840_000_000,  # with a dense layer for each of eight lengths, of which one is used
        description="stella_en_400M_v5: English",
        pooling="mean",
        max_tokens=512,
        prompts={
            "query": _STELLA_QUERY,
            "s2p_query": _STELLA_QUERY,
            "s2s_query": "Instruct: Retrieve semantically similar text.\nQuery: ",
        },
        card=cards.STELLA_400M,
    ),
    replace(
        _GTE_BASE,
        name="arctic-embed-m-v2.0",
        repo="Snowflake/snowflake-arctic-embed-m-v2.0",
        revision="f2a7d59d80dfda5b1d14f096f3ce88bb6bf9ebdc",
        architecture="gte",
        size_bytes=1165 * _MIB,
        description="snowflake-arctic-embed-m-v2.0: multilingual, long texts",
        prompts={"query": "query: "},
        matryoshka=(256,),
    ),
    replace(
        _JINA_EN,
        name="jina-embeddings-v2-small-en",
        repo="jinaai/jina-embeddings-v2-small-en",
        revision="44e7d1d6caec8c883c2d4b207588504d519788d0",
        dimension=512,
        size_bytes=62 * _MIB,
        description="jina-embeddings-v2-small-en: English, small, long texts",
    ),
    _JINA_EN,
    _JINA_DE,
    replace(
        _JINA_DE,
        name="jina-embeddings-v2-base-es",
        repo="jinaai/jina-embeddings-v2-base-es",
        revision="df4cda9fdb596af2e07328e6834321716786229a",
        description="jina-embeddings-v2-base-es: Spanish and English, long texts",
    ),
    replace(
        _JINA_DE,
        name="jina-embeddings-v2-base-zh",
        repo="jinaai/jina-embeddings-v2-base-zh",
        revision=None,
        description="jina-embeddings-v2-base-zh: Chinese and English, long texts",
    ),
    replace(
        _JINA_DE,
        name="jina-embeddings-v2-base-code",
        repo="jinaai/jina-embeddings-v2-base-code",
        revision="516f4baf13dec4ddddda8631e019b5737c8bc250",
        description="jina-embeddings-v2-base-code: English and code, long texts",
    ),
)
