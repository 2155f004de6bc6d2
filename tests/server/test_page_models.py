"""The page's list of models: what each does, and loading and unloading them with an admin key."""

import json
from collections.abc import Iterator

import httpx
import pytest

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.calls.auth import ApiKeys
from tests.fixtures import model_path
from tests.server.browser import Browser, Tab
from tests.server.conftest import RERANKER, Running, server_here, server_process
from tests.server.pages import LOOK, MODEL, TEXTS, compare, models, of_module, ready, rows

pytestmark = pytest.mark.long

Told = dict[str, object]
NONE, DOT = "\N{EN DASH}", "\N{MIDDLE DOT}"
KEY, ADMIN_KEY = "a-secret-key", "an-admin-key"
STAYS: Told = {"expires_at": None}
NEVER: Told = {"last_used": None, "memory_bytes": None, "loads": 0}
GONE: Told = {"state": "unloaded", "loaded_at": None, "expires_at": None}
USED = ["Loaded", "66 MB", "10 min ago", "2 min ago"]
MANY: Told = {"memory_bytes": 3_210_000_000, "loaded_at": -200_000.0, "last_used": 1600.0}
STATES: list[tuple[Told, list[str]]] = [
    ({}, [*USED, "in 5 min", "0", "Unload"]),
    (STAYS | {"requests": 3}, [*USED[:3], "in use", "5 min after use", "3", "Unload"]),
    (STAYS | {"pinned": True}, [*USED, "pinned: stays", "0", "Unload"]),
    (STAYS | {"keep_alive": None}, [*USED, "stays", "0", "Unload"]),
    (GONE | NEVER | {"state": "loading"}, ["Loading", NONE, NONE, "never", NONE, "0", "Load"]),
    (GONE | NEVER, ["Not loaded yet", NONE, NONE, "never", NONE, "0", "Load"]),
    (STAYS | {"state": "unloading"}, ["Unloading", *USED[1:], NONE, "0", "Unload"]),
    (GONE | {"failed": True}, ["Failed to load", "was 66 MB", NONE, "2 min ago", NONE, "0", "Load"]),
    (MANY, ["Loaded", "3.2 GB", "2 d ago", "just now", "in 5 min", "0", "Unload"]),
]


@pytest.fixture
def lazy() -> Iterator[Running]:
    """A server that has loaded nothing yet."""
    flags = ("--model", BUNDLED, "--reranker", str(model_path(RERANKER)), "--load", "lazy", "--keep-alive", "600")
    with server_process(*flags, environment={"AKIDB_ADMIN_KEYS": ADMIN_KEY}) as running:
        yield running


def press(tab: Tab, name: str) -> None:
    """Press a model's button."""
    tab.click(f"button[aria-label$={json.dumps(name)}]")


def until_state(tab: Tab, name: str, state: str) -> None:
    cell = f"document.querySelector('button[aria-label$={json.dumps(name)}]').closest('tr').cells[1].innerText"
    tab.until(f"{cell} === {json.dumps(state)}")


def give_admin_key(tab: Tab, key: str) -> None:
    tab.until("document.querySelector('#admin-key').checkVisibility() && document.activeElement.id === 'admin-key'")
    tab.type("#admin-key", key)
    tab.press("Enter")


def test_models_that_were_never_loaded_are_loaded_and_unloaded(chromium: Browser, lazy: Running) -> None:
    with chromium.tab(lazy.url) as tab:
        ready(tab)
        unknown = ["Not loaded yet", NONE, NONE, "never", NONE, "0", "Load"]
        assert models(tab) == {BUNDLED: unknown, RERANKER: unknown}
        assert rows(tab, "#models tbody")[1][0] == f"{RERANKER}\nReranker {DOT} not loaded yet"
        assert tab.value("document.querySelector('#left-prompt').checkVisibility()") is False
        assert tab.complaints == []
        press(tab, BUNDLED)
        give_admin_key(tab, "wrong-key")
        tab.until("document.querySelector('#models-wrong').innerText.includes('does not accept this admin key')")
        give_admin_key(tab, ADMIN_KEY)
        until_state(tab, BUNDLED, "Loaded")
        tab.until(f"document.querySelector('#models-told').innerText === '{BUNDLED} is loaded.'")
        memory, loaded, used, leaves = models(tab)[BUNDLED][1:5]
        assert memory.endswith(" MB")
        assert (loaded[-3:], used[-3:]) in {("ago", "ago"), ("now", "now"), ("now", "ago"), ("ago", "now")}
        assert leaves in {"in 10 min", "in 9 min"}
        assert tab.value("document.querySelector('#admin-form').checkVisibility()") is False
        assert tab.value("document.activeElement.getAttribute('aria-label')") == f"Unload {BUNDLED}"
        tab.until("document.querySelector('#left-prompt').checkVisibility()")  # its prompts are known now
        assert "384 dimensions" in rows(tab, "#models tbody")[0][0]
        press(tab, BUNDLED)  # the key is asked for once
        until_state(tab, BUNDLED, "Unloaded")
        assert models(tab)[BUNDLED][1:5] == [f"was {memory}", NONE, models(tab)[BUNDLED][3], NONE]
        assert tab.value("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        assert not [url for url in tab.requests if KEY in url or ADMIN_KEY in url]
        compare(tab, *TEXTS)  # a request loads it, too
        until_state(tab, BUNDLED, "Loaded")


def test_a_server_that_lets_nobody_load_says_what_its_owner_can_do(
    chromium: Browser, bundled: EmbeddingService
) -> None:
    with server_here({BUNDLED: bundled}) as running, chromium.tab(running.url) as tab:
        ready(tab)
        press(tab, BUNDLED)
        tab.until("document.querySelector('#models-wrong').innerText.includes('serve --admin-keys-file FILE')")
        assert "status 403" in tab.text("#models-wrong")
        assert tab.value("document.querySelector('#admin-form').checkVisibility()") is False
        assert tab.value("document.querySelector('#models button').getAttribute('aria-disabled')") == "false"
        until_state(tab, BUNDLED, "Loaded")


def test_a_key_for_requests_does_not_load(chromium: Browser, bundled: EmbeddingService) -> None:
    keys = ApiKeys([KEY], [ADMIN_KEY])
    with server_here({BUNDLED: bundled}, keys=keys) as running, chromium.tab(running.url) as tab:
        tab.until("document.querySelector('#key').checkVisibility() && document.querySelector('#latency tr')")
        assert tab.text("#models-locked") == "The list of models requires an API key."
        tab.type("#key", KEY)
        tab.press("Enter")
        ready(tab)
        assert tab.value("document.querySelector('#models-locked').checkVisibility()") is False
        press(tab, BUNDLED)
        tab.until("document.querySelector('#models-wrong').innerText.includes('an admin key may')")
        tab.click("#admin-cancel")
        assert tab.text("#models-wrong") == ""
        assert tab.value("document.activeElement.getAttribute('aria-label')") == f"Unload {BUNDLED}"
        press(tab, BUNDLED)
        give_admin_key(tab, ADMIN_KEY)
        until_state(tab, BUNDLED, "Unloaded")
        assert tab.text("#models-wrong") == ""


def test_a_model_that_cannot_be_loaded_is_told_with_the_servers_words(tab: Tab) -> None:
    words = {"error": "other needs 900 MB; max_memory is 500 MB.", "request_id": "an-id"}
    tab.value(
        "void (window.fetch = ((real) => async (path, options) => path.startsWith('models/') "
        f"? new Response({json.dumps(json.dumps(words))}, {{status: 503}}) : real(path, options))(window.fetch))"
    )
    press(tab, RERANKER)
    tab.until("document.querySelector('#models-wrong').checkVisibility()")
    assert tab.text("#models-wrong").splitlines() == [words["error"], "Request an-id, status 503"]
    assert tab.text("#models-told") == ""
    assert tab.value("document.querySelector('#admin-form').checkVisibility()") is False
    assert tab.value("document.activeElement.getAttribute('aria-label')") == f"Unload {RERANKER}"
    button = f"document.querySelector('button[aria-label$={json.dumps(RERANKER)}]')"
    assert tab.value(f"{button}.getAttribute('aria-disabled')") == "false"


def test_names_with_signs_are_loaded_as_they_are(chromium: Browser, reranker: RerankService) -> None:
    name = "owner/na me?#%2F&<b>"
    keys = ApiKeys([], [ADMIN_KEY])
    with server_here({name: reranker}, keys=keys) as running, chromium.tab(running.url) as tab:
        ready(tab)
        tab.click("#models button")
        give_admin_key(tab, ADMIN_KEY)
        tab.until("document.querySelector('#models-told').innerText.endsWith(' is unloaded.')")
        [found] = httpx.get(f"{running.url}/v1/models").json()["data"]
        assert (found["id"], found["state"]) == (name, "unloaded")
        assert tab.value("document.querySelectorAll('#models b').length") == 0


def test_every_state_is_told_in_words(tab: Tab) -> None:
    cells = "[...document.querySelector('#models tbody tr').cells].slice(1).map((cell) => cell.innerText)"
    disabled = "document.querySelector('#models button').getAttribute('aria-disabled')"
    for changed, wanted in STATES:
        shown = f"[m.showStates([{json.dumps(MODEL | changed)}], 1600), {cells}, {disabled}].slice(1)"
        assert of_module(tab, "models", shown) == [wanted, str(wanted[0] in {"Loading", "Unloading"}).lower()], changed


def test_a_refresh_leaves_the_focus_where_it_is(tab: Tab) -> None:
    tab.value(f"document.querySelector('button[aria-label$={json.dumps(RERANKER)}]').focus()")
    before = len(tab.requests)
    tab.value(LOOK)
    tab.browser.pause(0.5)
    assert len(tab.requests) > before
    assert tab.value("document.activeElement.getAttribute('aria-label')") == f"Unload {RERANKER}"


def test_models_that_are_no_longer_served_leave_the_list(tab: Tab) -> None:
    both = [MODEL, MODEL | {"id": "other"}]
    script = f"[m.showStates({json.dumps(both)}, 1600), m.showStates({json.dumps(both[1:])}, 1600), "
    found = of_module(tab, "models", script + "document.querySelector('#models tbody').innerText][2]")
    assert found.startswith("other")
    assert BUNDLED not in found
