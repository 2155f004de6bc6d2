"""The threads that use MLX serve one job after the other."""

import threading

import pytest

from akidb_embeddings.engine import threads
from tests.conftest import LONG, eventually


def test_a_thread_serves_the_next_job_when_it_is_idle() -> None:
    used: list[threading.Thread] = []
    for _ in range(5):
        threads.start(lambda: used.append(threading.current_thread())).wait()
    assert len(set(used)) == 1


def test_jobs_at_once_have_threads_of_their_own() -> None:
    together = threading.Barrier(3)
    jobs = [threads.start(lambda: together.wait(LONG)) for _ in range(3)]
    for job in jobs:
        job.wait()


def test_a_job_that_raises_does_not_end_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise SystemExit("unforeseen")

    threads.start(fail).wait()
    assert "unforeseen" in caplog.text
    done = threading.Event()
    for _ in range(3):
        threads.start(done.set).wait()
        assert done.is_set()


def test_only_a_thread_with_a_job_counts_as_one_of_mlxs() -> None:
    assert not threads.is_mlx_thread()
    inside: list[bool] = []
    threads.start(lambda: inside.append(threads.is_mlx_thread())).wait()
    assert inside == [True]
    assert eventually(lambda: "akidb-mlx-idle" in {thread.name for thread in threading.enumerate()})
