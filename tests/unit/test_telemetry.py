"""What OpenTelemetry is told of copies and requests, by the example of the documentation and on a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from canned import AT_ONCE, CannedTransport, Reply
from cli.programs import environment, server_settings
from entrepot import telemetry
from entrepot.errors import NotFound
from entrepot.flavors.s3.config import S3Config
from entrepot.flavors.s3.connection import make_client
from entrepot.testing.servers import Server

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

DOCUMENT = (Path(__file__).parents[2] / "docs" / "observability.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


class Told:
    """Providers of this test's own, and what they were told."""

    def __init__(self) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self._tracers = TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([self._reader])
        self.telemetry = telemetry.Telemetry(self._tracers, self._meters)

    @property
    def spans(self) -> list[tuple[str, dict[str, Any]]]:
        return [(one.name, dict(one.attributes or {})) for one in self._spans.get_finished_spans()]

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Of a metric: labels, and the value or the sum."""
        data = self._reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data is not None else []
        return [
            (dict(point.attributes), getattr(point, "value", None) if hasattr(point, "value") else point.sum)
            for metric in metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def everything(self) -> str:
        data = self._reader.get_metrics_data()
        return "".join(one.to_json() for one in self._spans.get_finished_spans()) + (data.to_json() if data else "")

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def told() -> Iterator[Told]:
    found = Told()
    yield found
    found.close()


def client_of(told: Told, *replies: Reply) -> Any:
    config = S3Config(
        path="s3://bucket", endpoint_url="https://s3.example.com", region="r", key="AKCANARY", secret="canary-secret"
    )
    client = make_client(config, transport=CannedTransport(*replies), policy=AT_ONCE)
    client.telemetry = told.telemetry
    return client


WHERE = {"server.address": "s3.example.com", "server.port": 443, "entrepot.service": "s3"}


@pytest.mark.anyio
async def test_a_request(told: Told) -> None:
    client = client_of(told, Reply(200, {"etag": '"e"', "content-length": "5"}, b"hello"))
    await client.get("dir/a key")
    ((name, attributes),) = told.spans
    labels = {"http.request.method": "GET", "entrepot.operation": "get", "http.response.status_code": 200, **WHERE}
    assert name == "GET get"
    assert attributes == {**labels, "aws.s3.bucket": "bucket", "aws.s3.key": "dir/a key"}
    ((its_labels, seconds),) = told.points("http.client.request.duration")
    assert its_labels == labels
    assert seconds > 0
    assert told.points("http.client.response.body.size") == [(labels, 5)]
    assert told.points("http.client.request.body.size") == []
    assert told.points("http.client.active_requests") == [(WHERE, 0)]
    assert told.points("entrepot.client.retries") == []


@pytest.mark.anyio
async def test_what_is_sent_is_counted(told: Told) -> None:
    await client_of(told, Reply(200, {"etag": '"e"'})).put("k", b"123")
    assert [size for _, size in told.points("http.client.request.body.size")] == [3]


@pytest.mark.anyio
async def test_a_retry(told: Told) -> None:
    client = client_of(told, Reply(lost=True), Reply(503), Reply(200, {"content-length": "1"}))
    await client.head("k")
    assert [(one.get("error.type"), one.get("http.request.resend_count")) for _, one in told.spans] == [
        ("ConnectionFailed", None), ("503", 1), (None, 2),
    ]  # fmt: skip
    retries = {labels["error.type"]: (labels, count) for labels, count in told.points("entrepot.client.retries")}
    assert retries["ConnectionFailed"] == (
        {"entrepot.service": "s3", "entrepot.operation": "head", "error.type": "ConnectionFailed"}, 1,
    )  # fmt: skip
    assert retries["Throttled"][1] == 1


@pytest.mark.anyio
async def test_a_refusal(told: Told) -> None:
    with pytest.raises(NotFound):
        await client_of(told, Reply(404)).head("k")
    ((_, attributes),) = told.spans
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (404, "404")
    ((labels, _),) = told.points("http.client.request.duration")
    assert (labels["http.response.status_code"], labels["error.type"]) == (404, "404")


@pytest.mark.anyio
async def test_an_error_inside_a_success(told: Told) -> None:
    client = client_of(told, Reply(200, {}, b"<Error><Code>InternalError</Code><Message>canary</Message></Error>"))
    with pytest.raises(Exception, match="InternalError"):
        await client.list_page("")
    assert {one["error.type"] for _, one in told.spans} == {"InternalError"}


@pytest.mark.anyio
async def test_nothing_tells_a_secret_and_no_metric_tells_a_key(told: Told) -> None:
    client = client_of(told, Reply(403, {}, b"<Error><Code>AccessDenied</Code><Message>canary</Message></Error>"))
    for call in (client.get("keyed-name"), client.put("keyed-name", b"canary"), client.list_page("keyed-name")):
        with pytest.raises(PermissionError):
            await call
    assert "canary" not in told.everything().lower()
    for name in ("http.client.request.duration", "http.client.request.body.size", "http.client.active_requests"):
        assert "keyed-name" not in json.dumps([labels for labels, _ in told.points(name)])
    assert all("X-Amz" not in json.dumps(attributes) for _, attributes in told.spans)


# ---- where nothing is set -------------------------------------------------------------------------------


def in_a_process(code: str, **settings: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


OFF = """
import sys
from entrepot import telemetry, S3ArtifactStore
{before}
assert telemetry.current() is {expected}
assert S3ArtifactStore("s3://bucket", key="k", secret="s", region="r").client.telemetry is {expected}
{after}
"""


def test_without_it_nothing_is_imported() -> None:
    in_a_process(OFF.format(before="", expected=None, after="assert 'opentelemetry' not in sys.modules"))


def test_without_a_provider_nothing_is_told() -> None:
    before = "from opentelemetry import trace; trace.get_tracer('x').start_span('y').end()"
    in_a_process(OFF.format(before=before, expected=None, after=""))


# ---- the example, and a whole copy ----------------------------------------------------------------------


def test_the_example_of_the_documentation_runs(
    moto_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bucket = moto_server.create_bucket()
    shown = in_a_process(EXAMPLE.replace("s3://bucket", f"s3://{bucket}"), **server_settings(moto_server))
    assert (tmp_path / "backup" / "1" / "model.bin").read_bytes() == b"weights"
    for name in ("PUT put ", "GET list ", "GET get ", "copy {"):
        assert any(line.startswith(name) for line in shown.splitlines()), shown
    told_metrics = set(re.findall(r"^([a-z_.]+) \[", shown, re.MULTILINE))
    documented = set(
        re.findall(r"`((?:http\.client|entrepot\.(?:client|copy))\.[a-z_.]+)`", DOCUMENT.split("### Metrics")[1])
    )
    assert told_metrics - documented == set()
    assert {"http.client.request.duration", "entrepot.copy.items", "entrepot.copy.io"} <= told_metrics
    assert server_settings(moto_server)["AWS_SECRET_ACCESS_KEY"] not in shown


TREE = """
import asyncio, json, sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import entrepot
spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))
seen = []
async def main():
    for compare in ("always", "skip-existing"):
        await entrepot.copy("tree", sys.argv[1], compare=compare, on_event=seen.append)
    try:
        await entrepot.copy("tree", "s3://no-such-bucket-here/x")
    except entrepot.StoreError:
        pass
asyncio.run(main())
print(json.dumps({
    "spans": [
        [one.name, one.context.span_id, one.parent.span_id if one.parent else None, one.status.status_code.name,
         dict(one.attributes)]
        for one in spans.get_finished_spans()
    ],
    "metrics": {
        metric.name: [[dict(point.attributes), getattr(point, "value", None)] for point in metric.data.data_points]
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    },
    "events": len(seen),
}))
"""


def test_a_copy_and_its_requests(moto_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree").mkdir()
    for number in range(20):
        (tmp_path / "tree" / f"{number}").write_bytes(b"x" * number)
    target = f"s3://{moto_server.create_bucket()}/t"
    code = TREE.replace("sys.argv[1]", repr(target))
    found = json.loads(in_a_process(code, **server_settings(moto_server)))
    copies = [one for one in found["spans"] if one[0] == "copy"]
    first, second, third = (attributes for *_, attributes in copies)
    assert first["entrepot.copy.target"] == target
    assert (first["entrepot.copy.files"], first["entrepot.copy.bytes"]) == (20, 190)
    assert (second["entrepot.copy.files"], second["entrepot.copy.skipped"]) == (0, 20)
    assert third["error.type"] == "ContainerNotFound"
    assert [status for _, _, _, status, _ in copies] == ["UNSET", "UNSET", "ERROR"]
    puts = [one for one in found["spans"] if one[0] == "PUT put" and one[4]["aws.s3.bucket"] in target]
    assert len(puts) >= 20
    assert {one[2] for one in puts} == {copies[0][1], copies[1][1]}, "each request is below its copy"
    of_first = {one[4]["aws.s3.key"] for one in puts if one[2] == copies[0][1]}
    assert of_first == {f"t/{number}" for number in range(20)}
    items = {labels["entrepot.copy.outcome"]: count for labels, count in found["metrics"]["entrepot.copy.items"]}
    assert (items["copied"], items["skipped"]) == (20, 20)
    assert sum(count for _, count in found["metrics"]["entrepot.copy.io"]) == 190
    assert sum(count for _, count in found["metrics"]["http.client.active_requests"]) == 0
    assert found["events"] > 0, "the caller's own listener is called, too"
