"""How much is measured: the whole suite, or its quick form of two to four minutes with the bundled model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Counts and times (seconds) of one form of the suite.

    Where a model is so slow that one measurement would take more than its ``budget`` (seconds), it gets fewer texts.
    """

    budget: float
    latency_rounds: int
    cold_lengths: tuple[int, ...]
    cold_rounds: int
    idle_seconds: float
    open_loop_seconds: float
    sweep_seconds: float
    batched_texts: int
    corpus_texts: int
    corpus_rounds: int
    concurrency_seconds: float
    memory_texts: int
    soak_minutes: float
    cold_starts: int
    growth: tuple[int, ...]
    neighbour_turns: int
    peer_texts: int
    peer_pairs: int
    peer_seconds: float

    def affordable(self, wanted: int, cost: float, least: int) -> int:
        """As many of the wanted as the budget allows at ``cost`` seconds each, but ``least``."""
        return max(least, min(wanted, int(self.budget / cost)))


FULL = Scale(
    budget=300,
    latency_rounds=300,
    cold_lengths=(8, 16, 32, 128, 512),
    cold_rounds=5,
    idle_seconds=10,
    open_loop_seconds=60,
    sweep_seconds=10,
    batched_texts=512,
    corpus_texts=2000,
    corpus_rounds=3,
    concurrency_seconds=10,
    memory_texts=2000,
    soak_minutes=1,
    cold_starts=10,
    growth=(100, 1_000, 10_000, 100_000),
    neighbour_turns=8,
    peer_texts=400,
    peer_pairs=5,
    peer_seconds=60,
)
QUICK = Scale(
    budget=15,
    latency_rounds=50,
    cold_lengths=(16,),
    cold_rounds=2,
    idle_seconds=10,
    open_loop_seconds=10,
    sweep_seconds=2,
    batched_texts=64,
    corpus_texts=128,
    corpus_rounds=2,
    concurrency_seconds=0.8,
    memory_texts=128,
    soak_minutes=0.1,
    cold_starts=3,
    growth=(100, 1_000),
    neighbour_turns=2,
    peer_texts=64,
    peer_pairs=2,
    peer_seconds=20,
)

# The limit for whole texts, whatever the model takes: all-MiniLM-L6-v2's, so that models and peers can be compared.
CORPUS_TOKENS = 256
