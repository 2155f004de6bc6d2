"""Static models, tables of vectors of tokens: model2vec's, and those with sentence-transformers' StaticEmbedding."""

from dataclasses import replace

from akidb_embeddings.registry import cards
from akidb_embeddings.registry.architectures import MODEL2VEC, MOST_STATIC_TOKENS, STATIC_EMBEDDING
from akidb_embeddings.registry.spec import ModelSpec

_POTION = ModelSpec(
    name="potion-base-8m",
    repo="minishlab/potion-base-8M",
    revision="bf8b056651a2c21b8d2565580b8569da283cab23",
    architecture=MODEL2VEC,
    dimension=256,
    weights="float32",
    license="MIT",
    size_bytes=31 * 10**6,
    description="potion-base-8M: English, static, the fastest",
    pooling="mean",
    max_tokens=MOST_STATIC_TOKENS,
)
_RETRIEVAL = ModelSpec(
    name="static-retrieval-mrl-en-v1",
    repo="sentence-transformers/static-retrieval-mrl-en-v1",
    revision="f60985c706f192d45d218078e49e5a8b6f15283a",
    architecture=STATIC_EMBEDDING,
    dimension=1024,
    weights="float32",
    license="Apache-2.0",
    size_bytes=126 * 10**6,
    description="static-retrieval-mrl-en-v1: English, static, for retrieval",
    pooling="mean",
    max_tokens=MOST_STATIC_TOKENS,
    matryoshka=(32, 64, 128, 256, 512, 768),
    card=cards.STATIC_RETRIEVAL,
)

STATIC_MODELS = (
    _POTION,
    replace(
        _POTION,
        name="potion-retrieval-32m",
        repo="minishlab/potion-retrieval-32M",
        revision="6fc8051fab2a1e0ee76689cf08c853792ac285e7",
        dimension=512,
        size_bytes=131 * 10**6,
        description="potion-retrieval-32M: English, static, for retrieval",
    ),
    replace(
        _POTION,
        name="potion-multilingual-128m",
        repo="minishlab/potion-multilingual-128M",
        revision="73908c3438cf03b6a01bcb9611d62b23d0726f08",
        size_bytes=530 * 10**6,
        description="potion-multilingual-128M: 101 languages, static",
    ),
    _RETRIEVAL,
    replace(
        _RETRIEVAL,
        name="static-similarity-mrl-multilingual-v1",
        repo="sentence-transformers/static-similarity-mrl-multilingual-v1",
        revision="7264ea07c5365a11d7e6d87dbb6195889a13054f",
        size_bytes=436 * 10**6,
        description="static-similarity-mrl-multilingual-v1: multilingual, static, for similarity",
        card=cards.STATIC_SIMILARITY,
    ),
)
