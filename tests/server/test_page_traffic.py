"""The page's charts and figures of latency and queue, from `/metrics`."""

import json

import httpx
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.calls.auth import ApiKeys
from tests.server.browser import Browser, Tab
from tests.server.conftest import server_here
from tests.server.pages import LOOK, TEXTS, of_module, ready, rows

pytestmark = pytest.mark.long

# Shows metrics of these moments, one after the other, as if they came from the server; the first ones forget what was.
SHOW = """(() => {
  const real = performance.now.bind(performance);
  try {
    for (const [seconds, text] of %s) {
      performance.now = () => 1000 * seconds;
      m.showMetrics(text);
    }
  } finally { performance.now = real; }
  const of = (chart, selector) => [...document.querySelectorAll(`#${chart}-chart ${selector}`)];
  return {
    texts: Object.fromEntries(["latency", "queue"].map((chart) =>
      [chart, of(chart, "text").map((one) => one.textContent)])),
    bars: Object.fromEntries(["latency", "queue"].map((chart) => [chart, of(chart, "rect").map((one) =>
      [one.getAttribute("width"), one.getAttribute("height")].map(Number))])),
    lines: Object.fromEntries(["p50", "p95", "age"].map((name) =>
      [name, [...document.querySelectorAll(`.chart polyline.${name}`)].map((one) =>
        one.getAttribute("points").split(" ").map((point) => point.split(",").map(Number)))])),
    dots: document.querySelectorAll(".chart circle.p50").length,
    labels: ["latency", "queue"].map((chart) => document.getElementById(`${chart}-chart`).getAttribute("aria-label")),
    queue: [...document.querySelectorAll("#queue tr")].map((row) => [...row.cells].map((cell) => cell.innerText)),
    latency: [...document.querySelectorAll("#latency tr")].map((row) => [...row.cells].map((cell) => cell.innerText)),
  };
})()"""
HEIGHT, TOP = 116, 12  # of the area that a chart draws in, in pixels


def metrics(fast: int, slow: int, tokens: int = 0, age: float = 0, failed: int = 0) -> str:
    """Prometheus's text after requests of less than 10 ms, and of less than 100 ms."""
    return "\n".join(
        [
            f'akidb_requests_total{{outcome="ok",protocol="rest"}} {fast + slow - failed}',
            f'akidb_requests_total{{outcome="invalid",protocol="grpc"}} {failed}',
            'akidb_requests_total{outcome="ok",protocol="admin"} 7',
            f'akidb_request_seconds_bucket{{le="0.01",protocol="rest"}} {fast}',
            f'akidb_request_seconds_bucket{{le="0.1",protocol="rest"}} {fast + slow}',
            f'akidb_request_seconds_bucket{{le="+Inf",protocol="rest"}} {fast + slow}',
            'akidb_request_seconds_bucket{le="+Inf",protocol="admin"} 7',
            f'akidb_queue_tokens{{model="a"}} {tokens}',
            f'akidb_queue_tokens{{model="b"}} {tokens}',
            f'akidb_queue_age_seconds{{model="a"}} {age / 2}',
            f'akidb_queue_age_seconds{{model="b"}} {age}',
            "akidb_memory_bytes 5e+08",
        ]
    )


def test_latency_counts_every_clients_requests(chromium: Browser, bundled: EmbeddingService) -> None:
    with server_here({BUNDLED: bundled}, max_texts=2) as running:
        httpx.post(f"{running.url}/embed", json={"texts": TEXTS[:1]}).raise_for_status()
        with chromium.tab(running.url) as tab:
            ready(tab)
            assert [row[1:] for row in rows(tab, "#latency")][:2] == [["0", "1"], ["0", "0"]]
            assert rows(tab, "#latency")[2][1] == "\N{EN DASH}"
            for texts in (TEXTS[:1], TEXTS[:2], TEXTS):
                httpx.post(f"{running.url}/v1/embeddings", json={"input": texts})
            tab.value(LOOK)
            tab.until("document.querySelector('#latency tr').cells[1].innerText === '3'")
            found = rows(tab, "#latency")
            assert [row[1:] for row in found][:2] == [["3", "4"], ["1", "1"]]
            assert all(cell.startswith("≈ ") and cell.endswith("s") for row in found[2:] for cell in row[1:])
            assert rows(tab, "#queue")[0][1] == "0"
            assert tab.value("document.querySelectorAll('#latency-chart rect').length") == 1


def test_quantiles_are_estimated_as_prometheus_does(tab: Tab) -> None:
    for share, wanted in ((0.25, "≈ 5 ms"), (0.5, "≈ 10 ms"), (0.75, "≈ 55 ms"), (1, "> 100 ms")):
        buckets = {0.01: 10, 0.1: 20 - 1e-9} if share < 1 else {0.01: 10, 0.1: 19}
        pairs = ", ".join(f"[{limit}, {count}]" for limit, count in buckets.items())
        assert of_module(tab, "figures", f"m.quantile({share}, new Map([{pairs}, [Infinity, 20]]))") == wanted
    assert of_module(tab, "figures", "m.quantile(.5, new Map([[1, 0], [Infinity, 0]]))") == "\N{EN DASH}"


def test_the_charts_show_what_happened_between_two_looks(tab: Tab) -> None:
    samples = [
        (1, metrics(10**9, 0)),  # then the server was restarted
        (10, metrics(0, 0)),
        (20, metrics(10, 0, tokens=2000, age=1)),  # one request a second, each below 10 ms
        (30, metrics(10, 0)),  # none
        (40, metrics(10, 40, tokens=500, age=4, failed=5)),
    ]
    found = of_module(tab, "traffic", SHOW % json.dumps(samples))
    assert found["texts"]["latency"] == ["0", "0/s", "50 ms", "2.5/s", "100 ms", "5/s", "5 min ago", "now"]
    assert found["texts"]["queue"] == ["0", "0", "2.5K", "2.5 s", "5K", "5 s", "5 min ago", "now"]
    assert [height for _, height in found["bars"]["latency"]] == pytest.approx([HEIGHT / 5, HEIGHT * 4 / 5])
    assert [height for _, height in found["bars"]["queue"]] == pytest.approx([HEIGHT * 4 / 5, HEIGHT / 5])
    assert found["lines"]["p50"] == []  # between its two values nobody asked
    assert found["dots"] == 2
    [age] = found["lines"]["age"]
    assert [round((TOP + HEIGHT - y) / HEIGHT * 5, 2) for _, y in age] == [1, 0, 4]
    assert age[2][0] - age[1][0] == pytest.approx(age[1][0] - age[0][0], abs=0.2)
    assert found["latency"] == [
        ["Requests", "50", "50"],
        ["Rejected or failed", "5", "5"],
        ["P50: half are faster", "≈ 44 ms", "≈ 44 ms"],
        ["P95: 95 % are faster", "≈ 94 ms", "≈ 94 ms"],
    ]
    assert found["queue"] == [
        ["Tokens that wait", "1,000", "4,000"],
        ["Longest wait", "4 s", "4 s"],
        ["Requests a second", "4", "4"],
        ["Memory of the process", "500 MB", "500 MB"],
    ]
    assert found["labels"] == [
        "Latency over the last 30 s: P50 ≈ 44 ms, P95 ≈ 94 ms; 4 requests a second now.",
        "Queue over the last 30 s: 1,000 tokens wait now, the longest wait is 4 s.",
    ]


def test_a_look_soon_after_another_does_not_make_a_peak(tab: Tab) -> None:
    samples = [(1, metrics(10**9, 0)), (10, metrics(0, 0)), (13, metrics(6, 0)), (13.2, metrics(8, 0))]
    found = of_module(tab, "traffic", SHOW % json.dumps(samples))
    assert [height for _, height in found["bars"]["latency"]] == pytest.approx([HEIGHT * 8 / 3.2 / 5])
    assert ["Requests a second", "2.5", "2.5"] in found["queue"]
    samples += [(13.2 + n / 5, metrics(8 + n, 0)) for n in range(100)]  # five looks a second for a while
    found = of_module(tab, "traffic", SHOW % json.dumps(samples))
    assert max(height for _, height in found["bars"]["latency"]) == pytest.approx(HEIGHT, rel=0.01)


def test_what_nobody_saw_is_a_gap_and_old_samples_leave(tab: Tab) -> None:
    samples = [(1, metrics(10**9, 0)), *((10 + 3 * n, metrics(10 * n, 0)) for n in range(5))]
    samples += [(200 + 3 * n, metrics(1000 + 10 * n, 0)) for n in range(5)]
    found = of_module(tab, "traffic", SHOW % json.dumps(samples))
    assert [len(line) for line in found["lines"]["p50"]] == [4, 4]
    assert len(found["bars"]["latency"]) == 8
    later = [(400 + 3 * n, metrics(2000, 0)) for n in range(36)]
    found = of_module(tab, "traffic", SHOW % json.dumps(samples + later))
    assert [len(line) for line in found["lines"]["p50"]] == [3]  # of the last 5 minutes
    assert found["latency"][0] == ["Requests", "0", "2,000"]


def test_a_chart_is_as_wide_as_the_page(tab: Tab) -> None:
    for width in (390, 1280):
        tab.look(width=width)
        tab.until(
            "[...document.querySelectorAll('.chart')].every((chart) => "
            "Number(chart.getAttribute('viewBox').split(' ')[2]) === chart.clientWidth)"
        )


def test_axes_end_at_round_numbers(tab: Tab) -> None:
    ends = {0.01: 0.01, 0.011: 0.02, 3: 5, 5.1: 10, 4000: 5000, 1e6: 1e6}
    assert of_module(tab, "chart", f"{list(ends)}.map(m.top)") == pytest.approx(list(ends.values()))


def test_without_the_key_that_metrics_need_the_page_says_so(chromium: Browser, bundled: EmbeddingService) -> None:
    served = server_here({BUNDLED: bundled}, keys=ApiKeys(["a-secret-key"]), protect_health=True)
    shown = "[...document.querySelectorAll('.chart')].filter((one) => one.checkVisibility()).length"
    with served as running, chromium.tab(running.url) as tab:
        tab.until("document.querySelector('#metrics-locked').checkVisibility()")
        assert tab.text("#metrics-locked") == "Reading latency and queue requires an API key."
        assert tab.value(shown) == 0
        tab.type("#key", "a-secret-key")
        tab.press("Enter")
        ready(tab)
        assert tab.value(shown) == 2
        assert tab.value("document.querySelector('#metrics-locked').checkVisibility()") is False
        assert "a-secret-key" not in " ".join(tab.requests)
