"""docs/recipes/celery.md: a worker of the prefork pool, really started, over a broker that is a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import blocks
from tests.docs.running import background, command_in, environment_in, write_files

PAGE = "docs/recipes/celery.md"
# The page's tasks, with folders in place of Redis.
LOCAL = """\
import tasks

tasks.app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"},
    result_backend="file://results",
)
app = tasks.app
"""

pytestmark = pytest.mark.long


def prepare(folder: Path) -> None:
    write_files(PAGE, folder)
    for name in ("queue", "control", "results"):
        (folder / name).mkdir()
    (folder / "local.py").write_text(LOCAL, encoding="utf-8")


@pytest.mark.parametrize("options", [(), ("--pool", "threads", "--concurrency", "4")], ids=["prefork", "threads"])
def test_a_task_gives_a_vector(tmp_path: Path, options: tuple[str, ...]) -> None:
    [program] = [block.text for block in blocks(PAGE) if block.language == "python" and not block.title]
    prepare(tmp_path)
    command = [word.replace("tasks", "local") for word in command_in(PAGE, "celery")]
    with background([*command, *options], tmp_path) as log:
        done = subprocess.run(
            [sys.executable, "-c", f"import local\n{program}"], cwd=tmp_path, env=environment_in(tmp_path),
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        assert not done.returncode, f"{done.stderr}\n{log.read_text(encoding='utf-8')}"
        assert done.stdout == "384\n"
    assert "Traceback" not in log.read_text(encoding="utf-8")
