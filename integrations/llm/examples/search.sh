#!/bin/sh
# Semantic search in a terminal: embed the topics of the language reference that comes with Python, and search them.
# No network: the model is bundled. The collection is in a database of its own, which is removed afterwards.
#
# Run: sh search.sh, or sh search.sh "your question".
set -eu
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

python3 -c '
import json
from pydoc_data.topics import topics
names = ["booleans", "comparisons", "exceptions", "formatstrings", "try", "truth", "while", "with"]
print(json.dumps([{"id": name, "content": topics[name]} for name in names]))
' > "$folder/topics.json"

llm embed-multi python "$folder/topics.json" --model akidb/minilm-l6-v2 --database "$folder/embeddings.db"
llm akidb similar python --content "${1:-how do I catch an exception?}" --number 3 --database "$folder/embeddings.db"
