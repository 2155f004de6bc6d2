"""Similarities and scores published by models' authors, with their sources."""

from akidb_embeddings.registry.spec import CardExample, RerankExample

QWEN3 = CardExample(
    queries=("What is the capital of China?", "Explain gravity"),
    documents=(
        "The capital of China is Beijing.",
        "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is "
        "responsible for the movement of planets around the sun.",
    ),
    scores=((0.7646, 0.1414), (0.1355, 0.6000)),
    source="https://huggingface.co/Qwen/Qwen3-Embedding-0.6B",
)

GEMMA = CardExample(
    queries=("Which planet is known as the Red Planet?",),
    documents=(
        "Venus is often called Earth's twin because of its similar size and proximity.",
        "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
        "Jupiter, the largest planet in our solar system, has a prominent red spot.",
        "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
    ),
    scores=((0.3011, 0.6359, 0.4930, 0.4889),),
    source="https://huggingface.co/google/embeddinggemma-300m",
)

MINILM = CardExample(
    queries=("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."),
    documents=("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."),
    scores=((1.0000, 0.6660, 0.1046), (0.6660, 1.0000, 0.1411), (0.1046, 0.1411, 1.0000)),
    source="https://sbert.net/docs/quickstart.html",
)

_MRA = (
    "Gadofosveset-enhanced MR angiography of carotid arteries: does steady-state imaging improve accuracy of "
    "first-pass imaging?",
    "To evaluate the diagnostic accuracy of gadofosveset-enhanced magnetic resonance (MR) angiography in the "
    "assessment of carotid artery stenosis, with digital subtraction angiography (DSA) as the reference standard,"
    ' and to determine the value of reading first-pass, steady-state, and "combined" (first-pass plus steady-'
    "state) MR angiograms.",
    "In a longitudinal study we investigated in vivo alterations of CVO during neuroinflammation, applying "
    "Gadofluorine M- (Gf) enhanced magnetic resonance imaging (MRI) in experimental autoimmune encephalomyelitis,"
    " an animal model of multiple sclerosis. SJL/J mice were monitored by Gadopentate dimeglumine- (Gd-DTPA) and "
    "Gf-enhanced MRI after adoptive transfer of proteolipid-protein-specific T cells. Mean Gf intensity ratios "
    "were calculated individually for different CVO and correlated to the clinical disease course. Subsequently, "
    "the tissue distribution of fluorescence-labeled Gf as well as the extent of cellular inflammation was "
    "assessed in corresponding histological slices.",
)
STATIC_RETRIEVAL = CardExample(
    queries=_MRA[:1],
    documents=_MRA[1:],
    scores=((0.7649, 0.3279),),
    source="https://huggingface.co/blog/static-embeddings",
)

_CHILI = (
    "It is known for its dry red chili powder.",
    "It is popular for dried red chili powder.",
    "These monsters will move in large groups.",
)
STATIC_SIMILARITY = CardExample(
    queries=_CHILI,
    documents=_CHILI,
    scores=((1.0000, 0.8388, -0.0012), (0.8388, 1.0000, 0.0445), (-0.0012, 0.0445, 1.0000)),
    source="https://huggingface.co/blog/static-embeddings",
)

GTE_MODERNBERT = CardExample(
    queries=("what is the capital of China?",),
    documents=("how to implement quick sort in python?", "Beijing", "sorting algorithms"),
    scores=((0.4289, 0.7131, 0.3366),),
    source="https://huggingface.co/Alibaba-NLP/gte-modernbert-base",
)

GTE_MULTILINGUAL = CardExample(
    queries=("what is the capital of China?",),
    documents=("how to implement quick sort in python?", "北京", "快排算法介绍"),
    scores=((0.3017, 0.7504, 0.3203),),
    source="https://huggingface.co/Alibaba-NLP/gte-multilingual-base",
)

STELLA_400M = CardExample(
    queries=("What are some ways to reduce stress?", "What are the benefits of drinking green tea?"),
    documents=(
        "There are many effective ways to reduce stress. Some common techniques include deep breathing, meditation, "
        "and physical activity. Engaging in hobbies, spending time in nature, and connecting with loved ones can also "
        "help alleviate stress. Additionally, setting boundaries, practicing self-care, and learning to say no can "
        "prevent stress from building up.",
        "Green tea has been consumed for centuries and is known for its potential health benefits. It contains "
        "antioxidants that may help protect the body against damage caused by free radicals. Regular consumption of "
        "green tea has been associated with improved heart health, enhanced cognitive function, and a reduced risk of "
        "certain types of cancer. The polyphenols in green tea may also have anti-inflammatory and weight loss "
        "properties.",
    ),
    scores=((0.8398, 0.2990), (0.3282, 0.8095)),
    source="https://huggingface.co/NovaSearch/stella_en_400M_v5",
)

BGE_M3 = CardExample(
    queries=("What is BGE M3?", "Defination of BM25"),
    documents=(
        "BGE M3 is an embedding model supporting dense retrieval, lexical matching and multi-vector interaction.",
        "BM25 is a bag-of-words retrieval function that ranks a set of documents based on the query terms appearing in "
        "each document",
    ),
    scores=((0.6265, 0.3477), (0.3499, 0.6780)),
    source="https://huggingface.co/BAAI/bge-m3",
)

MODERNBERT_EMBED = CardExample(
    queries=("What is TSNE?", "Who is Laurens van der Maaten?"),
    documents=("TSNE is a dimensionality reduction algorithm created by Laurens van Der Maaten",),
    scores=((0.7214,), (0.3260,)),
    source="https://huggingface.co/nomic-ai/modernbert-embed-base",
)

E5_INSTRUCT = CardExample(
    queries=("how much protein should a female eat", "南瓜的家常做法"),
    documents=(
        "As a general guideline, the CDC's average requirement of protein for women ages 19 to 70 is 46 grams per day. "
        "But, as you can see from this chart, you'll need to increase that if you're expecting or training for a "
        "marathon. Check out the chart below to see how much protein you should be eating each day.",
    ),
    scores=((0.9193,), (0.7038,)),
    source="https://huggingface.co/intfloat/multilingual-e5-large-instruct",
)


def _arctic(name: str, scores: tuple[tuple[float, ...], ...]) -> CardExample:
    return CardExample(
        queries=("what is snowflake?", "Where can I get the best tacos?"),
        documents=("The Data Cloud!", "Mexico City of Course!"),
        scores=scores,
        source=f"https://huggingface.co/Snowflake/{name}",
    )


ARCTIC_XS = _arctic("snowflake-arctic-embed-xs", ((0.5752, 0.4580), (0.5045, 0.5636)))
ARCTIC_L = _arctic("snowflake-arctic-embed-l", ((0.2898, 0.1907), (0.2515, 0.3865)))
ARCTIC_M_V15 = _arctic("snowflake-arctic-embed-m-v1.5", ((0.3521, 0.2358), (0.2389, 0.3884)))
ARCTIC_L_V2 = _arctic("snowflake-arctic-embed-l-v2.0", ((0.2715, 0.0661), (0.1250, 0.2797)))


def _ms_marco(name: str, scores: tuple[float, ...]) -> RerankExample:
    return RerankExample(
        query="How many people live in Berlin?",
        documents=(
            "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
            "Berlin is well known for its museums.",
        ),
        scores=scores,
        source=f"https://huggingface.co/cross-encoder/{name}",
        activation="identity",
    )


MS_MARCO_L6 = _ms_marco("ms-marco-MiniLM-L6-v2", (8.607138, -4.320078))
MS_MARCO_L12 = _ms_marco("ms-marco-MiniLM-L12-v2", (9.218911, -4.0780287))

# In float16, without the sigmoid that sentence-transformers applies to this model.
BGE_RERANKER_V2_M3 = RerankExample(
    query="what is panda?",
    documents=(
        "hi",
        "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, is a bear species "
        "endemic to China.",
    ),
    scores=(-8.1875, 5.26171875),
    source="https://huggingface.co/BAAI/bge-reranker-v2-m3",
    activation="identity",
)

GTE_RERANKER_MODERNBERT = RerankExample(
    query="how to implement quick sort in python?",
    documents=("Introduction of quick sort", "The weather is nice today"),
    scores=(0.9213594, 0.15742092),
    source="https://huggingface.co/Alibaba-NLP/gte-reranker-modernbert-base",
    activation="sigmoid",
)


def _qwen3_reranker(name: str, scores: tuple[float, ...]) -> RerankExample:
    return RerankExample(
        query=QWEN3.queries[0],
        documents=QWEN3.documents,
        scores=scores,
        source=f"https://huggingface.co/Qwen/{name}",
        activation="identity",
    )


QWEN3_RERANKER_06B = _qwen3_reranker("Qwen3-Reranker-0.6B", (7.625, -11.375))
QWEN3_RERANKER_4B = _qwen3_reranker("Qwen3-Reranker-4B", (6.4375, -14.375))
