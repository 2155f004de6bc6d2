"""Clients that ask for several models at random, each as soon as it has its answer."""

import http.client
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from akidb_embeddings.vectors.finish import Vectors

CLIENTS = 8
TEXTS = ["light", "the computer", "names of plants and sugar", "evening, and good words first", "a memory of football"]


@dataclass
class Seen:
    """What clients saw: seconds of requests whose model was loaded, and of those that waited for it; the others."""

    loaded: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def ask(self, connection: http.client.HTTPConnection, model: str, index: int, expected: Vectors) -> None:
        """Ask for one text's vector, in Ollama's API: its answers say for how long the model was loaded."""
        begin = time.monotonic()
        connection.request("POST", "/api/embed", json.dumps({"model": model, "input": TEXTS[index]}).encode())
        with connection.getresponse() as response:
            answer = json.load(response)
        took = time.monotonic() - begin
        if response.status == 503:
            self.refused.append(answer["error"])
        elif response.status != 200 or answer["model"] != model:
            self.wrong.append(f"{response.status}: {answer}")
        elif not np.allclose(np.float32(answer["embeddings"][0]), expected[index], atol=1e-5):
            self.wrong.append(f"{model}: another vector")
        else:
            (self.waited if answer["load_duration"] else self.loaded).append(took)


def ask(address: tuple[str, int], models: Sequence[str], seconds: float, expected: Vectors) -> Seen:
    """What the clients of a server see within so many seconds; ``expected`` are the vectors of ``TEXTS``."""
    seen = Seen()

    def client(seed: int) -> None:
        chance, end = random.Random(seed), time.monotonic() + seconds
        connection = http.client.HTTPConnection(*address)
        while time.monotonic() < end:
            seen.ask(connection, chance.choice(models), chance.randrange(len(TEXTS)), expected)
        connection.close()

    threads = [threading.Thread(target=client, args=[seed]) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen
