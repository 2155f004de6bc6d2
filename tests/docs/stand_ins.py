"""What the documentation's commands run in place of programs that change the machine or run forever.

``test_run.py`` gives every block of commands shell functions that call this file: ``stand_ins.py pip install …``.

- ``pip``: the packages must be installed already, and this checkout's extras must exist.
- ``make``: the targets must exist (``make -n`` in the checkout).
- ``git``: ``git clone`` makes a folder with the checkout in it.
- ``serve``: ``akidb-embed serve`` starts with the given options, at free ports, and is stopped once it answers.
- ``curl``: a request to the tests' server, for a machine without curl.
"""

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
_OURS = (
    "akidb-embeddings",
    "langchain-akidb",
    "llama-index-embeddings-akidb",
    "chroma-akidb",
    "llm-akidb",
    "lancedb-akidb",
    "akidb-haystack",
)
_SPECIFIER = re.compile(r"^(?P<name>[\w./-]+?)(\[(?P<extras>[\w,-]+)\])?$")


def pip(*arguments: str) -> None:
    """Check the arguments of ``pip install``."""
    if not arguments or arguments[0] != "install":
        sys.exit(f"pip {arguments}: only `pip install` is known")
    for argument in arguments[1:]:
        if argument not in ("-e", "--editable", "--upgrade", "-U", "-q", "--no-deps"):
            _check_package(argument)


def _check_package(argument: str) -> None:
    match = _SPECIFIER.match(argument)
    if not match:
        sys.exit(f"pip: {argument!r} is no package and no folder")
    name = match["name"]
    if name.startswith(".") or "/" in name:
        project = tomllib.loads((REPOSITORY / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        if missing := set(filter(None, (match["extras"] or "").split(","))) - project["optional-dependencies"].keys():
            sys.exit(f"pip: {project['name']} has no extra {sorted(missing)}")
    elif name in _OURS:
        sys.exit(f"pip: {name} is not on PyPI yet; install it from a checkout: -e '.[cpu]'")
    else:
        importlib.metadata.version(name)  # raises if it is not installed; the tests' environment has what is shown


def make(*arguments: str) -> None:
    """Check that the targets exist."""
    subprocess.run(["make", "-n", "-C", REPOSITORY, *arguments], check=True, stdout=subprocess.DEVNULL)


def git(*arguments: str) -> None:
    """Make what ``git clone`` makes."""
    if len(arguments) != 2 or arguments[0] != "clone":
        sys.exit(f"git {arguments}: only `git clone URL` is known")
    folder = Path(arguments[1].rstrip("/").rpartition("/")[2].removesuffix(".git"))
    folder.mkdir(exist_ok=True)
    link_checkout(folder)


def link_checkout(folder: Path) -> None:
    """Put links to all that the checkout has into a folder."""
    for entry in REPOSITORY.iterdir():
        if not entry.name.startswith(".") and entry.name != "site":
            (folder / entry.name).symlink_to(entry)


def serve(*arguments: str) -> None:
    """Start a server with these options, and stop it once it answers."""
    options = list(arguments)
    for flag in ("--port", "--grpc-port"):
        if flag in options:
            options[options.index(flag) + 1] = "0"
    if "--port" not in options:
        options += ["--port", "0"]
    command = [sys.executable, "-m", "akidb_embeddings", "serve", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        started = False
        for line in process.stderr:
            sys.stderr.write(line)
            if "REST on" in line and not started:
                started = True
                process.send_signal(signal.SIGTERM)
        if process.wait() or not started:
            sys.exit(f"akidb-embed serve {arguments}: exit code {process.returncode}")


def curl(*arguments: str) -> None:
    """Send a request, with the options that the documentation uses."""
    words = list(arguments)
    url, body, headers = "", None, {}
    while words:
        word = words.pop(0)
        if word in ("-d", "--data"):
            body = words.pop(0).encode()
        elif word in ("-H", "--header"):
            name, _, value = words.pop(0).partition(":")
            headers[name] = value.strip()
        elif word.startswith("-") and word not in ("-s", "-S", "-sS", "--fail"):
            sys.exit(f"curl {word}: unknown; see tests/docs/stand_ins.py")
        else:
            url = word
    url = url.removeprefix("http://").replace("localhost:8080", os.environ["DOCS_SERVER"])
    request = urllib.request.Request(f"http://{url}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request) as response:
            sys.stdout.write(response.read().decode())
    except urllib.error.HTTPError as error:
        sys.exit(f"curl {url}: {error.code} {error.read().decode()}")


def main() -> None:
    name, *arguments = sys.argv[1:]
    {"pip": pip, "make": make, "git": git, "serve": serve, "curl": curl}[name](*arguments)


if __name__ == "__main__":
    main()
