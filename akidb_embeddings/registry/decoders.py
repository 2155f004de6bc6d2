"""Embedding models made from the decoders Qwen3 and Gemma 3."""

from dataclasses import replace

from akidb_embeddings.registry import cards
from akidb_embeddings.registry.spec import ModelSpec, variant

_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
_GEMMA_TASKS = {
    "Clustering": "clustering",
    "Classification": "classification",
    "InstructionRetrieval": "code retrieval",
    "PairClassification": "sentence similarity",
    "STS": "sentence similarity",
    "Summarization": "summarization",
}
_GEMMA_PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "} | {
    name: f"task: {task} | query: " for name, task in _GEMMA_TASKS.items()
}

_QWEN3_06B = ModelSpec(
    name="qwen3-0.6b",
    repo="Qwen/Qwen3-Embedding-0.6B",
    revision="97b0c614be4d77ee51c0cef4e5f07c00f9eb65b3",
    architecture="qwen3",
    dimension=1024,
    weights="bfloat16",
    license="Apache-2.0",
    size_bytes=1_203_000_000,
    description="Qwen3-Embedding-0.6B: multilingual, takes tasks",
    pooling="last",
    max_tokens=32768,
    prompts={"query": f"Instruct: {_SEARCH}\nQuery:", "document": ""},
    matryoshka=range(32, 1025),
    card=cards.QWEN3,
)
_QWEN3_4B = replace(
    _QWEN3_06B,
    name="qwen3-4b",
    repo="Qwen/Qwen3-Embedding-4B",
    revision="5cf2132abc99cad020ac570b19d031efec650f2b",
    dimension=2560,
    size_bytes=8_055_000_000,
    description="Qwen3-Embedding-4B: multilingual, takes tasks",
    matryoshka=range(32, 2561),
    card=None,
)
_QWEN3_8B = replace(
    _QWEN3_4B,
    name="qwen3-8b",
    repo="Qwen/Qwen3-Embedding-8B",
    revision="1d8ad4ca9b3dd8059ad90a75d4983776a23d44af",
    dimension=4096,
    size_bytes=15_146_000_000,
    description="Qwen3-Embedding-8B: multilingual, takes tasks",
    matryoshka=range(32, 4097),
)
_GEMMA = ModelSpec(
    name="gemma-300m",
    repo="google/embeddinggemma-300m",
    revision="57c266a740f537b4dc058e1b0cda161fd15afa75",
    architecture="gemma3_text",
    dimension=768,
    weights="float32",
    license="Gemma",
    size_bytes=1_250_000_000,
    description="EmbeddingGemma-300m: multilingual, takes tasks",
    pooling="mean",
    max_tokens=2048,
    prompts=_GEMMA_PROMPTS,
    matryoshka=(512, 256, 128),
    card=cards.GEMMA,
)
_HARRIER_270M = ModelSpec(
    name="harrier-270m",
    repo="microsoft/harrier-oss-v1-270m",
    revision="31de22b673913c7d658c0f03f792d77c2dcf8ebd",
    architecture="gemma3_text",
    dimension=640,
    weights="bfloat16",
    license="MIT",
    size_bytes=570_000_000,
    description="harrier-oss-v1-270m: multilingual, takes tasks",
    pooling="last",
    max_tokens=32768,
    prompts={"query": f"Instruct: {_SEARCH}\nQuery: ", "document": ""},
)
_OCTEN_06B = replace(
    _QWEN3_06B,
    name="octen-0.6b",
    repo="Octen/Octen-Embedding-0.6B",
    revision="1a00a4e837bd788f6f8d91bc43201a5e52cf8ef8",
    description="Octen-Embedding-0.6B: multilingual, takes tasks",
    prompts={**_QWEN3_06B.prompts, "document": " "},
    matryoshka=(),
    card=None,
)


def _f2llm(size: str, revision: str, dimension: int, parameters: int) -> ModelSpec:
    """One of the sizes of F2LLM-v2. Which token ends texts, its tokenizer says alone."""
    return ModelSpec(
        name=f"f2llm-v2-{size.lower()}",
        repo=f"codefuse-ai/F2LLM-v2-{size}",
        revision=revision,
        architecture="qwen3",
        dimension=dimension,
        weights="float32",
        license="Apache-2.0",
        size_bytes=4 * parameters + 12_000_000,
        description=f"F2LLM-v2-{size}: multilingual, takes tasks",
        pooling="last",
        max_tokens=40960,
        prompts={
            "query": "Instruct: Given a question, retrieve passages that can help answer the question.\nQuery: ",
            "document": "",
        },
        gets_final_token=False,
    )


DECODERS = (
    variant(
        _QWEN3_06B,
        "4 bits",
        "Qwen3-Embedding-0.6B-4bit-DWQ",
        335_000_000,
        "6c3ae70858513f1a78e9cdca3cae330d9075cd2a",
    ),
    variant(
        _QWEN3_06B,
        "8 bits",
        "Qwen3-Embedding-0.6B-8bit",
        645_000_000,
        "407ad2329cd30702720aafe83f74a1ba30fdfbca",
    ),
    _QWEN3_06B,
    variant(
        _QWEN3_4B,
        "4 bits",
        "Qwen3-Embedding-4B-4bit-DWQ",
        2_270_000_000,
        "b5d88f1fe49b50d2ac01b4692ca2d387f14f9c72",
    ),
    _QWEN3_4B,
    variant(_QWEN3_8B, "4 bits", "Qwen3-Embedding-8B-4bit-DWQ", 4_270_000_000),
    _QWEN3_8B,
    replace(
        _QWEN3_06B,
        name="harrier-0.6b",
        repo="microsoft/harrier-oss-v1-0.6b",
        revision="f9b9dc8d367d443f2479d27aa5d8d2850c0774ee",
        license="MIT",
        description="harrier-oss-v1-0.6b: multilingual, takes tasks",
        prompts=_HARRIER_270M.prompts,
        matryoshka=(),
        card=None,
    ),
    ModelSpec(
        name="pplx-embed-0.6b",
        repo="perplexity-ai/pplx-embed-v1-0.6b",
        revision="2c4d510dd4a732063c31a0f70193e35067b51fd8",
        architecture="bidirectional_pplx_qwen3",
        dimension=1024,
        weights="float32",
        license="MIT",
        size_bytes=2_400_000_000,
        description="pplx-embed-v1-0.6b: multilingual, vectors of integers",
        pooling="mean",
        max_tokens=32768,
    ),
    ModelSpec(
        name="pplx-embed-4b",
        repo="perplexity-ai/pplx-embed-v1-4b",
        revision="06456497a00540a582918fe8dcd3a5eabb207772",
        architecture="bidirectional_pplx_qwen3",
        dimension=2560,
        weights="float32",
        license="MIT",
        size_bytes=16_100_000_000,
        description="pplx-embed-v1-4b: multilingual, vectors of integers",
        pooling="mean",
        max_tokens=32768,
    ),
    ModelSpec(
        name="jina-v5-small-retrieval",
        repo="jinaai/jina-embeddings-v5-text-small-retrieval",
        architecture="qwen3",
        dimension=1024,
        weights="bfloat16",
        license="CC-BY-NC-4.0",
        size_bytes=1_204_000_000,
        description="jina-embeddings-v5-text-small-retrieval: multilingual; not for commercial use",
        pooling="last",
        max_tokens=32768,
        prompts={"query": "Query: ", "document": "Document: "},
        matryoshka=(32, 64, 128, 256, 512, 768),
        gets_final_token=False,
    ),
    _OCTEN_06B,
    replace(
        _OCTEN_06B,
        name="octen-4b",
        repo="Octen/Octen-Embedding-4B",
        revision="6e188e3b072c3e3678b235ad84e6e97bcbb71e8f",
        dimension=2560,
        size_bytes=8_055_000_000,
        description="Octen-Embedding-4B: multilingual, takes tasks",
    ),
    replace(
        _OCTEN_06B,
        name="octen-8b",
        repo="Octen/Octen-Embedding-8B",
        revision="2030603c2926ab005fafd824fac5911e271be21f",
        dimension=4096,
        size_bytes=15_146_000_000,
        description="Octen-Embedding-8B: multilingual, takes tasks",
    ),
    _f2llm("80M", "6faa7738f343cd4321f9b2fa92fdb7cae3c117a5", 320, 80_084_288),
    _f2llm("160M", "4013fb02c4b37ae14fc567fb190051b6cad652f6", 640, 159_185_024),
    _f2llm("330M", "e8ef9a8eb907a9dffdd9442424a967ba73e70d31", 896, 334_349_184),
    _f2llm("0.6B", "54b4e2dc74e01be7126d4cf5f016af6b21edc563", 1024, 596_049_920),
    _f2llm("1.7B", "3766d46e7a68545ed6190c15330983f9b39ab718", 2048, 1_720_574_976),
    _f2llm("4B", "e04d1a04f4a0e154bf43969d3dcc596bbd92b1f8", 2560, 4_022_468_096),
    _f2llm("8B", "5ac7d57351026337281e8e6a23e05cce16e79415", 4096, 7_568_405_504),
    variant(_GEMMA, "4 bits", "embeddinggemma-300m-4bit", 173_000_000, "5d9ef074df3957afc5c77127f208fddbc3c54187"),
    variant(_GEMMA, "8 bits", "embeddinggemma-300m-8bit", 345_000_000, "c8316c9e35cf8830541b04d315398c67faa6e497"),
    variant(_GEMMA, "bfloat16", "embeddinggemma-300m-bf16", 650_000_000, "2f420efb007317a1ef2aa1608f87ef24226e6807"),
    replace(_GEMMA, description="EmbeddingGemma-300m: multilingual, takes tasks; needs consent and a token"),
    _HARRIER_270M,
)
