"""A Hugging Face hub on 127.0.0.1, with as much of its HTTP interface as downloading a model takes.

A test module makes fixtures of it in two lines each: ``isolate`` for the environment, ``HubServer`` for the hub.
"""

import hashlib
import json
import re
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

Files = dict[str, bytes]

_ENVIRONMENT = (
    *("AKIDB_CACHE_DIR", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT"),
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
)


def safetensors(values: int = 4) -> bytes:
    """Return a safetensors file with one float32 vector of zeros."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * values)


def tiny_model(**files: bytes) -> Files:
    """Return the files of the smallest model, and what else is given."""
    return {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": safetensors()} | files


def write_files(folder: Path, files: Files) -> Path:
    """Write files into a folder, which is made."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def commit_of(files: Files) -> str:
    """Return a commit hash that changes when a file does."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class HubServer:
    """The hub. Tests fill ``repos`` and arrange faults; ``requests`` tells what was asked.

    ``repos`` maps a repository to its revisions (``main`` and others) and their files. ``tokens`` maps a private
    repository to the token it wants, ``gated`` holds repositories whose files nobody gets. ``failures`` maps a
    method and a part of a path to the status to answer. ``cuts`` maps a file to the numbers of bytes after which
    its next answers break off. Files are only sent while ``open_gate`` is set.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, Files]] = {}
        self.tokens: dict[str, str] = {}
        self.gated: set[str] = set()
        self.failures: dict[tuple[str, str], int] = {}
        self.cuts: dict[str, list[int]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.open_gate = threading.Event()
        self.open_gate.set()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "HubServer":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.open_gate.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, repo: str, files: Files | None = None, **revisions: Files) -> str:
        """Put a repository on the hub and return the commit hash of its ``main``."""
        main = tiny_model() if files is None else files
        self.repos[repo] = {"main": main, **revisions}
        return commit_of(main)

    def sent(self, file: str) -> list[str]:
        """Return the Range headers ("" for none) with which a file was asked for."""
        return [
            headers.get("range", "")
            for method, path, headers in self.requests
            if method == "GET" and _file(path) == file
        ]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append((self.command, self.path, headers))
        path = urlsplit(self.path).path
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if status := self._arranged_failure():
            self._refuse(status, "")
        elif not (api or file):
            self._refuse(404, "")
        elif api and (files := self._visible_files(api[1], unquote(api[3] or "main"))) is not None:
            self._describe(api[1], files, tree=api[2] == "tree")
        elif file and (files := self._visible_files(file[1], unquote(file[2]))) is not None:
            self._send_file(file[1], unquote(file[3]), files)

    def _arranged_failure(self) -> int:
        failures = self.hub.failures.items()
        return next((code for (method, part), code in failures if method == self.command and part in self.path), 0)

    def _visible_files(self, repo: str, revision: str) -> Files | None:
        """Return a revision's files; refuse a stranger, or a revision that is not there."""
        token = self.hub.tokens.get(repo)
        if repo not in self.hub.repos or (token and self.headers.get("Authorization") != f"Bearer {token}"):
            self._refuse(401, "RepoNotFound")
            return None
        revisions = self.hub.repos[repo]
        files = revisions.get(revision) or {commit_of(files): files for files in revisions.values()}.get(revision)
        if files is None:
            self._refuse(404, "RevisionNotFound")
        return files

    def _describe(self, repo: str, files: Files, *, tree: bool) -> None:
        if tree:
            self._send_json([_entry(name, content) for name, content in files.items()])
            return
        blobs = "blobs" in parse_qs(urlsplit(self.path).query)
        siblings = [{"rfilename": name} | ({"size": len(files[name])} if blobs else {}) for name in files]
        self._send_json({"id": repo, "modelId": repo, "sha": commit_of(files), "siblings": siblings, "tags": []})

    def _send_json(self, value: Any) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, {"X-Error-Code": code} if code else {}, b"")

    def _send_file(self, repo: str, name: str, files: Files) -> None:
        if repo in self.hub.gated:
            self._refuse(403, "GatedRepo")
        elif name not in files:
            self._refuse(404, "EntryNotFound")
        else:
            self._send_content(name, files)

    def _send_content(self, name: str, files: Files) -> None:
        content = files[name]
        headers = {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": commit_of(files), "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-ETag": f'"{_etag(content)}"', "X-Linked-Size": str(len(content))}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET":
            self.hub.open_gate.wait(20)
        cuts = self.hub.cuts.get(name, []) if self.command == "GET" else []
        self._send(206 if wanted else 200, headers, content[start:], cuts.pop(0) if cuts else None)

    def _send(self, status: int, headers: dict[str, str], body: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        self.close_connection = cut is not None


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _file(path: str) -> str:
    return unquote(path.partition("/resolve/")[2].partition("/")[2])


def isolate(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """Give a test a home of its own, made here, free of every variable that leads to a cache or the hub."""
    for name in _ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN_PATH", str(home / "no-token"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # nobody listens: no test reaches the real hub
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(home)
    return home
