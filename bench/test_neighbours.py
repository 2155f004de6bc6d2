"""One query at a time while other programs keep the cores busy: the engine chooses its BLAS threads by itself."""

import statistics
from contextlib import ExitStack

import pytest

from akidb_embeddings.tokenization.tokenizer import Tokenizer
from bench.figures import Recorder
from bench.models import Model
from bench.neighbours import CHOSEN, Asker, busy_programs, settings, take_turns
from bench.scale import Scale
from bench.targets import NEIGHBOURS, beside
from bench.texts import Texts

_TOKENS, _QUERIES, _WARM_UP = 16, 12, 5


def test_neighbours(model: Model, texts: Texts, tokenizer: Tokenizer, record: Recorder, scale: Scale) -> None:
    from akidb_embeddings.compute.cores import available_cores
    from akidb_embeddings.compute.devices import select_backend
    from akidb_embeddings.compute.runtime import BLAS

    cores = available_cores()
    if select_backend().is_gpu or cores == 1 or BLAS.path is None:
        record.absent(NEIGHBOURS, "all", "nothing to choose: a GPU computes, or one core, or MLX's own BLAS")
        pytest.skip("nothing to choose")
    queries = texts.exact(tokenizer, _TOKENS, 100)
    with ExitStack() as stack:
        askers = {
            name: stack.enter_context(Asker(model.config, queries, environment))
            for name, environment in settings(cores).items()
        }
        take_turns(askers, 1, _WARM_UP)
        # With all threads, a query beside many programs takes seconds.
        many = {4 * cores: scale.neighbour_turns // 4}
        for programs, turns_each in {0: scale.neighbour_turns, cores: scale.neighbour_turns, **many}.items():
            if not turns_each:
                continue
            with busy_programs(programs):
                take_turns({CHOSEN: askers[CHOSEN]}, 1, _WARM_UP)  # until it has noticed
                found = take_turns(askers, turns_each, _QUERIES)
            medians = {}
            for name, turns in found.items():
                milliseconds = [value for turn in turns for value in turn.milliseconds]
                medians[name] = statistics.median(milliseconds)
                note = f"{turns[-1].threads} threads in the end, set to one {turns[-1].drops} times so far"
                record.figure(
                    NEIGHBOURS, f"{programs} busy programs, {name}", "ms", milliseconds, note if name == CHOSEN else ""
                )
            better = min(value for name, value in medians.items() if name != CHOSEN)
            record.figure(NEIGHBOURS, beside(programs), "times", [medians[CHOSEN] / better], "median to median")
