"""Embedding models made from decoders that were trained to attend both ways: EuroBERT and Llama."""

from akidb_embeddings.registry.spec import ModelSpec

_COLONS = {"query": "Query: ", "document": "Document: "}
_QUERY_PASSAGE = {"query": "query: ", "document": "passage: "}

BIDIRECTIONAL = (
    ModelSpec(
        name="jina-v5-nano-retrieval",
        repo="jinaai/jina-embeddings-v5-text-nano-retrieval",
        revision="ac5d898c8d382b17167c33e5c8af644a3519b47d",
        architecture="eurobert",
        dimension=768,
        weights="bfloat16",
        license="CC-BY-NC-4.0",
        size_bytes=441_000_000,
        description="jina-embeddings-v5-text-nano-retrieval: multilingual; not for commercial use",
        pooling="last",
        max_tokens=8192,
        prompts=_COLONS,
        matryoshka=(32, 64, 128, 256, 512),
    ),
    ModelSpec(
        name="llama-nemotron-1b-v2",
        repo="nvidia/llama-nemotron-embed-1b-v2",
        architecture="llama_bidirec",
        dimension=2048,
        weights="bfloat16",
        license="NVIDIA Open Model",
        size_bytes=2_489_000_000,
        description="llama-nemotron-embed-1b-v2: multilingual",
        pooling="mean",
        max_tokens=8192,
        prompts=_QUERY_PASSAGE,
        matryoshka=(384, 512, 768, 1024),
    ),
    # Its prompts are in its files: what queries are told is not on its page.
    ModelSpec(
        name="llama-nemotron-8b",
        repo="nvidia/llama-embed-nemotron-8b",
        revision="84a375593d27d3528beb4e104822515659e093b4",
        architecture="llama_bidirec",
        dimension=4096,
        weights="bfloat16",
        license="NVIDIA non-commercial",
        size_bytes=15_030_000_000,
        description="llama-embed-nemotron-8b: multilingual, takes tasks; for research only",
        pooling="mean",
        max_tokens=32768,
    ),
)
