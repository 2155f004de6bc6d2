"""English BERT models."""

from dataclasses import replace

from akidb_embeddings.registry import cards
from akidb_embeddings.registry.spec import ModelSpec, variant

_MIB = 1 << 20
_REPRESENT = {"query": "Represent this sentence for searching relevant passages: "}

_MINILM = ModelSpec(
    name="all-minilm-l6-v2",
    repo="sentence-transformers/all-MiniLM-L6-v2",
    revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    architecture="bert",
    dimension=384,
    weights="float32",
    license="Apache-2.0",
    size_bytes=91 * 10**6,
    description="all-MiniLM-L6-v2: English, small and fast",
    pooling="mean",
    max_tokens=256,
    card=cards.MINILM,
)
_BGE_SMALL = ModelSpec(
    name="bge-small-en-v1.5",
    repo="BAAI/bge-small-en-v1.5",
    revision="5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
    architecture="bert",
    dimension=384,
    weights="float32",
    license="MIT",
    size_bytes=127 * _MIB,
    description="bge-small-en-v1.5: English",
    pooling="cls",
    max_tokens=512,
    prompts=_REPRESENT,
)
_ARCTIC_M = replace(
    _BGE_SMALL,
    name="arctic-embed-m-v1.5",
    repo="Snowflake/snowflake-arctic-embed-m-v1.5",
    revision="97eab2e17fcb7ccb8bb94d6e547898fa1a6a0f47",
    dimension=768,
    license="Apache-2.0",
    size_bytes=415 * _MIB,
    description="snowflake-arctic-embed-m-v1.5: English",
    matryoshka=(256,),
    card=cards.ARCTIC_M_V15,
)

BERTS = (
    _MINILM,
    variant(_MINILM, "4 bits", "all-MiniLM-L6-v2-4bit", 14_000_000),
    variant(_MINILM, "8 bits", "all-MiniLM-L6-v2-8bit", 25_000_000),
    variant(_MINILM, "bfloat16", "all-MiniLM-L6-v2-bf16", 46_000_000, "b6691709eacd8f0afcc3faace288cf50e611f3aa"),
    replace(
        _MINILM,
        name="minilm-l6-v2",
        weights="8 bits",
        revision=None,
        size_bytes=25_500_000,
        description="all-MiniLM-L6-v2: English, small and fast, bundled with this package",
        bundled=True,
    ),
    replace(
        _MINILM,
        name="all-minilm-l12-v2",
        repo="sentence-transformers/all-MiniLM-L12-v2",
        revision="364dd28d28dcd3359b537f3cf1f5348ba679da62",
        size_bytes=128 * _MIB,
        description="all-MiniLM-L12-v2: English, small",
        max_tokens=128,
        card=None,
    ),
    _BGE_SMALL,
    variant(_BGE_SMALL, "4 bits", "bge-small-en-v1.5-4bit", 20_000_000, "6d66cdf333ff5d4cdad084f2fc2a619575d064ab"),
    variant(_BGE_SMALL, "8 bits", "bge-small-en-v1.5-8bit", 36_000_000),
    variant(_BGE_SMALL, "bfloat16", "bge-small-en-v1.5-bf16", 67_000_000),
    replace(
        _BGE_SMALL,
        name="bge-base-en-v1.5",
        repo="BAAI/bge-base-en-v1.5",
        revision="a5beb1e3e68b9ab74eb54cfd186867f64f240e1a",
        dimension=768,
        size_bytes=418 * _MIB,
        description="bge-base-en-v1.5: English",
    ),
    replace(
        _BGE_SMALL,
        name="bge-large-en-v1.5",
        repo="BAAI/bge-large-en-v1.5",
        revision="d4aa6901d3a41ba39fb536a557fa166f842b0e09",
        dimension=1024,
        size_bytes=1279 * _MIB,
        description="bge-large-en-v1.5: English",
    ),
    replace(
        _BGE_SMALL,
        name="mxbai-embed-large-v1",
        repo="mixedbread-ai/mxbai-embed-large-v1",
        revision="b33106f585b9ce46904ad7443a3b52b7a63e231c",
        dimension=1024,
        weights="float16",
        license="Apache-2.0",
        size_bytes=640 * _MIB,
        description="mxbai-embed-large-v1: English",
        matryoshka=(512,),
    ),
    replace(
        _ARCTIC_M,
        name="arctic-embed-xs",
        repo="Snowflake/snowflake-arctic-embed-xs",
        revision="742da4f66e1823b5b4dbe6c320a1375a1fd85f9e",
        dimension=384,
        size_bytes=87 * _MIB,
        description="snowflake-arctic-embed-xs: English, small",
        matryoshka=(),
        card=cards.ARCTIC_XS,
    ),
    replace(
        _ARCTIC_M,
        name="arctic-embed-l",
        repo="Snowflake/snowflake-arctic-embed-l",
        revision="9a9e5834d2e89cdd8bb72b64111dde496e4fe78c",
        dimension=1024,
        size_bytes=1275 * _MIB,
        description="snowflake-arctic-embed-l: English",
        matryoshka=(),
        card=cards.ARCTIC_L,
    ),
    _ARCTIC_M,
)
