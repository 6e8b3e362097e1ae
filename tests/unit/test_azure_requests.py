"""The requests of the wire client, as text: each primitive, and each key of the configuration."""

from __future__ import annotations

import base64
import pickle
import re
from typing import Any

import pytest

from azure_canned import ACCOUNT, KEY, as_text, client_of, header, listing, xml
from canned import AT_ONCE, CannedTransport, Reply
from entrepot.errors import ConfigurationError, InvalidPath, PathOutsideStore, ServiceUnavailable
from entrepot.flavors.azure.config import AzureConfig
from entrepot.flavors.azure.connection import make_client
from entrepot.flavors.azure.store import AzureArtifactStore
from entrepot.http.transport import Request
from entrepot.models import ByteRange, Part, Upload, WriteOptions
from entrepot.services.checksums import combine_crc32c, crc32c, crc32c_hex

pytestmark = pytest.mark.anyio

MD5 = "XUFAKrxLKna5cZ2REBfFkg=="
EMPTY = "1B2M2Y8AsgTpgAmY7PhCfg=="
UPLOAD = Upload("a/k", "0" * 32)
BLOCK = base64.b64encode(f"{'0' * 32}-00003".encode()).decode()
FIRST = base64.b64encode(f"{'0' * 32}-00001".encode()).decode()
HOST = "host: acct.blob.core.windows.net"
TAIL = "x-ms-date: DATE\nx-ms-version: 2023-11-03\nauthorization: SharedKey acct:SIGNATURE"
THERE = Reply(headers={"content-length": "5", "etag": '"0x1"', "x-ms-copy-status": "success"})


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this user's own accounts."""
    for name in ("CONNECTION_STRING", "ACCOUNT", "ACCOUNT_NAME", "KEY", "ACCOUNT_KEY", "ACCESS_KEY", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


PRIMITIVES: dict[str, tuple[Any, Reply, str]] = {
    "head": (
        lambda c: c.head("a b/é+%41"),
        THERE,
        f"HEAD /box/a%20b/%C3%A9%2B%2541\n{HOST}\n{TAIL}",
    ),
    "head of a version": (lambda c: c.head("k", version="2024:1"), THERE, f"HEAD /box/k?versionid=2024%3A1\n{HOST}\n"),
    "get": (
        lambda c: c.get("k", byte_range=ByteRange(1, 5), if_match="0x1"),
        Reply(206, {"content-range": "bytes 1-4/5", "etag": '"0x1"'}, b"ello"),
        f'GET /box/k\n{HOST}\nrange: bytes=1-4\nif-match: "0x1"\n{TAIL}',
    ),
    "put": (
        lambda c: c.put("k", b"hello", WriteOptions("text/plain", {"Run-Id": "blue"}, mtime_s=1.5)),
        Reply(201, {"etag": '"0x1"'}),
        (
            f"PUT /box/k\n{HOST}\nx-ms-blob-type: BlockBlob\ncontent-md5: {MD5}\ncontent-type: text/plain\n"
            f"x-ms-meta-run_x002d_id: blue\nx-ms-meta-mtime: 1.5\n{TAIL}\n\nhello"
        ),
    ),
    "create only": (
        lambda c: c.put("k", b"", WriteOptions(if_none_match=True)),
        Reply(201, {"etag": '"0x1"'}),
        (
            f"PUT /box/k\n{HOST}\nx-ms-blob-type: BlockBlob\ncontent-md5: {EMPTY}\n"
            f"x-ms-meta-entrepot_write: RANDOM\nif-none-match: *\n{TAIL}"
        ),
    ),
    "replace this etag": (
        lambda c: c.put("k", b"", WriteOptions(if_match="0x1")),
        Reply(201, {"etag": '"0x1"'}),
        (
            f"PUT /box/k\n{HOST}\nx-ms-blob-type: BlockBlob\ncontent-md5: {EMPTY}\n"
            f'x-ms-meta-entrepot_write: RANDOM\nif-match: "0x1"\n{TAIL}'
        ),
    ),
    "a directory's marker": (
        lambda c: c.put("d/", b""),
        Reply(201, {"etag": '"0x1"'}),
        (
            f"PUT /box/d/\n{HOST}\nx-ms-blob-type: BlockBlob\ncontent-md5: {EMPTY}\n"
            f"x-ms-meta-hdi_isfolder: true\nif-none-match: *\n{TAIL}"
        ),
    ),
    "list": (
        lambda c: c.list_page("a b/x", delimiter="/", limit=7),
        Reply(body=listing()),
        f"GET /box?restype=container&comp=list&delimiter=%2F&include=metadata&maxresults=7&prefix=a%20b%2Fx\n{HOST}\n",
    ),
    "list on": (
        lambda c: c.list_page("", token="t/+="),
        Reply(body=listing()),
        f"GET /box?restype=container&comp=list&include=metadata&marker=t%2F%2B%3D&maxresults=5000\n{HOST}\n{TAIL}",
    ),
    "delete": (
        lambda c: c.delete("k"),
        Reply(202),
        f"DELETE /box/k\n{HOST}\nx-ms-delete-snapshots: include\n{TAIL}",
    ),
    "delete this etag": (
        lambda c: c.delete("k", if_match="0x1"),
        Reply(202),
        f'DELETE /box/k\n{HOST}\nx-ms-delete-snapshots: include\nif-match: "0x1"\n{TAIL}',
    ),
    "versions": (
        lambda c: c.list_versions("k"),
        Reply(body=listing()),
        f"GET /box?restype=container&comp=list&include=metadata%2Cversions&prefix=k\n{HOST}\n",
    ),
    "copy": (
        lambda c: c.copy(c, "s +é", "k", source_etag="0x1"),
        THERE,
        (
            f"PUT /box/k\n{HOST}\nx-ms-copy-source: https://acct.blob.core.windows.net/box/s%20%2B%C3%A9\n"
            f'x-ms-source-if-match: "0x1"\n{TAIL}'
        ),
    ),
    "copy with other metadata": (
        lambda c: c.copy(c, "s", "k", WriteOptions(metadata={"a": "1"}, if_none_match=True)),
        THERE,
        (
            f"PUT /box/k\n{HOST}\nx-ms-copy-source: https://acct.blob.core.windows.net/box/s\nx-ms-meta-a: 1\n"
            f'x-ms-meta-entrepot_write: RANDOM\nif-none-match: *\nx-ms-source-if-match: "0x1"\n{TAIL}'
        ),
    ),
    "put part": (
        lambda c: c.put_part(UPLOAD, 3, b"hello"),
        Reply(201, {"etag": '"0x1"'}),
        f"PUT /box/a/k?comp=block&blockid={BLOCK.replace('=', '%3D')}\n{HOST}\ncontent-md5: {MD5}\n{TAIL}\n\nhello",
    ),
    "complete": (
        lambda c: c.complete_upload(
            UPLOAD, [Part(3, 5, crc32c=crc32c(b"hello")), Part(1, 6, crc32c=crc32c(b"first,"))]
        ),
        Reply(201, {"etag": '"0x1"'}),
        (
            f"PUT /box/a/k?comp=blocklist\n{HOST}\ncontent-type: application/xml\ncontent-md5: MD5\n"
            f"x-ms-meta-crc32c: {crc32c_hex(crc32c(b'first,hello'))}-11\n{TAIL}\n\n"
            '<?xml version="1.0" encoding="utf-8"?><BlockList>'
            f"<Latest>{FIRST}</Latest><Latest>{BLOCK}</Latest></BlockList>"
        ),
    ),
    "complete with options": (
        lambda c: c.complete_upload(
            Upload("k", "1" * 32, WriteOptions("text/csv", {"a": "1"}, if_none_match=True)), [Part(1, 5)]
        ),
        Reply(201, {"etag": '"0x1"'}),
        (
            f"PUT /box/k?comp=blocklist\n{HOST}\ncontent-type: application/xml\ncontent-md5: MD5\n"
            f"x-ms-blob-content-type: text/csv\nx-ms-meta-a: 1\nif-none-match: *\n{TAIL}\n\n"
        ),
    ),
    "list parts": (
        lambda c: c.list_parts(UPLOAD),
        Reply(body=xml("BlockList", "<CommittedBlocks/><UncommittedBlocks/>")),
        f"GET /box/a/k?comp=blocklist&blocklisttype=uncommitted\n{HOST}\n{TAIL}",
    ),
    "list uploads": (
        lambda c: c.list_uploads("a/"),
        Reply(body=listing()),
        f"GET /box?restype=container&comp=list&include=uncommittedblobs&prefix=a%2F\n{HOST}\n{TAIL}",
    ),
}


@pytest.mark.parametrize("name", PRIMITIVES)
async def test_a_primitive_is_this_request(name: str) -> None:
    run, reply, expected = PRIMITIVES[name]
    client, transport = client_of(reply)
    await run(client)
    shown = [as_text(one) for one in transport.requests]
    wanted = expected.splitlines()[0].split(" ")[0]
    text = next(one for one in shown if one.startswith(wanted))
    if "comp=blocklist\n" in text:  # the MD5 of the list itself
        text = re.sub(r"content-md5: \S+", "content-md5: MD5", text)
    assert re.sub(
        r"content-md5: \S+\n(?=x-ms-(meta-crc|blob-content-type|meta-a))", "content-md5: MD5\n", text
    ).startswith(expected)


def test_the_crc32c_of_a_whole_is_that_of_its_parts() -> None:
    assert combine_crc32c([(crc32c(b"first,"), 6), (crc32c(b"hello"), 5)]) == crc32c(b"first,hello")


async def test_a_block_is_copied_by_an_address_that_proves_it_may_be_read() -> None:
    client, transport = client_of(Reply(201, {"etag": '"0x1"'}))
    part = await client.copy_part(UPLOAD, 3, client, "s é", ByteRange(5, 10), source_etag="0x1")
    assert part == Part(3, 5, BLOCK)
    (request,) = transport.requests
    assert request.target == f"/box/a/k?comp=block&blockid={BLOCK.replace('=', '%3D')}"
    assert header(request, "x-ms-source-range") == "bytes=5-9"
    assert header(request, "x-ms-source-if-match") == '"0x1"'
    source = header(request, "x-ms-copy-source") or ""
    assert source.startswith("https://acct.blob.core.windows.net/box/s%20%C3%A9?")
    assert "sr=c" in source
    assert "sp=r" in source


async def test_deletes_go_in_one_request_each_signed() -> None:
    def answer(request: Request) -> Reply:
        parts = [
            f"--b\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 202 Accepted\r\n"
            "x-ms-request-id: 1\r\n\r\n"
            for number in (1, 0)
        ]
        return Reply(202, {"content-type": "multipart/mixed; boundary=b"}, ("".join(parts) + "--b--").encode())

    client, transport = client_of(answer)
    assert await client.delete_many(["a b", "é"]) == []
    (request,) = transport.requests
    assert request.target == "/box?restype=container&comp=batch"
    boundary = (header(request, "content-type") or "").removeprefix("multipart/mixed; boundary=")
    assert re.fullmatch(r"batch_[0-9a-f]{32}", boundary), "Azurite reads no other form"
    text = bytes(request.body).decode()
    assert text.startswith(
        f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: 0\r\n\r\n"
        "DELETE /box/a%20b HTTP/1.1\r\nx-ms-delete-snapshots: include\r\nx-ms-date: "
    )
    assert "DELETE /box/%C3%A9 HTTP/1.1\r\n" in text
    assert text.count("authorization: SharedKey acct:") == 2
    assert "x-ms-version" not in text, "the parts are of the version of the whole"
    assert text.endswith(f"\r\n\r\n--{boundary}--\r\n")


# ---- configuration -----------------------------------------------------------------------------------------

SAS = "sv=2023-11-03&sp=rl&se=2099-01-01T00%3A00%3A00Z&sig=c2VjcmV0"
STRING = f"DefaultEndpointsProtocol=https;AccountName=other;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn"
CONFIGURED: dict[str, tuple[dict[str, Any], str]] = {
    "account_name, account_key": ({}, f"HEAD /box/k\n{HOST}\n{TAIL}"),
    "sas_token": (
        {"sas_token": SAS},
        f"HEAD /box/k?{SAS}\n{HOST}\nx-ms-version: 2023-11-03",
    ),
    "sas_token with its question mark": (
        {"sas_token": f"?{SAS}"},
        f"HEAD /box/k?{SAS}\n{HOST}\nx-ms-version: 2023-11-03",
    ),
    "connection_string": (
        {"connection_string": STRING},
        (
            "HEAD /box/k\nhost: other.blob.core.chinacloudapi.cn\nx-ms-date: DATE\nx-ms-version: 2023-11-03\n"
            "authorization: SharedKey other:"
        ),
    ),
    "connection_string with a SAS": (
        {"connection_string": f"BlobEndpoint=https://sas.example.com/;SharedAccessSignature={SAS}"},
        f"HEAD /box/k?{SAS}\nhost: sas.example.com\nx-ms-version: 2023-11-03",
    ),
    "connection_string of the emulator": (
        {"connection_string": "UseDevelopmentStorage=true"},
        "HEAD /devstoreaccount1/box/k\nhost: 127.0.0.1:10000\n",
    ),
    "anonymous": ({"anonymous": True}, f"HEAD /box/k\n{HOST}\nx-ms-version: 2023-11-03"),
    "endpoint_suffix": (
        {"endpoint_suffix": "core.usgovcloudapi.net"},
        "HEAD /box/k\nhost: acct.blob.core.usgovcloudapi.net\n",
    ),
    "endpoint_url": (
        {"endpoint_url": "https://blobs.example.com:8443/"},
        "HEAD /box/k\nhost: blobs.example.com:8443\n",
    ),
    "endpoint_url of an address without the account": (
        {"endpoint_url": "http://127.0.0.1:10000"},
        "HEAD /acct/box/k\nhost: 127.0.0.1:10000\n",
    ),
    "endpoint_url of an address with the account": (
        {"endpoint_url": "http://127.0.0.1:10000/acct"},
        "HEAD /acct/box/k\nhost: 127.0.0.1:10000\n",
    ),
    "allow_http": (
        {"endpoint_url": "http://storage.example.com", "allow_http": True},
        "HEAD /box/k\nhost: storage.example.com\n",
    ),
    "allow_link_local": (
        {"endpoint_url": "https://169.254.169.254", "allow_link_local": True},
        "HEAD /acct/box/k\nhost: 169.254.169.254\n",
    ),
    "path with an account": (
        {"path": "abfs://box@acct.dfs.core.windows.net/some", "account_key": KEY},
        f"HEAD /box/k\n{HOST}\n{TAIL}",
    ),
    "path with an account elsewhere": (
        {"path": "abfss://box@acct.dfs.core.chinacloudapi.cn", "account_key": KEY},
        "HEAD /box/k\nhost: acct.blob.core.chinacloudapi.cn\n",
    ),
    "path of the root container": ({"path": "az://$root"}, f"HEAD /$root/k\n{HOST}\n{TAIL}"),
}


@pytest.mark.parametrize("name", CONFIGURED)
async def test_a_configuration_makes_this_request(name: str) -> None:
    options, expected = CONFIGURED[name]
    client, transport = client_of(THERE, **options)
    await client.head("k")
    assert as_text(transport.requests[0]).startswith(expected)


async def test_max_attempts_bounds_what_fails_for_a_passing_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = CannedTransport(Reply(500))
    client = make_client(AzureConfig(path="az://box", max_attempts=1, **ACCOUNT), transport=transport)
    with pytest.raises(ServiceUnavailable):
        await client.head("k")
    assert len(transport.requests) == 1


ENVIRONMENTS: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "account and key": (
        {"ACCOUNT": "fromenv", "KEY": KEY},
        {},
        (
            "HEAD /box/k\nhost: fromenv.blob.core.windows.net\nx-ms-date: DATE\nx-ms-version: 2023-11-03\n"
            "authorization: SharedKey fromenv:"
        ),
    ),
    "the other names": (
        {"ACCOUNT_NAME": "fromenv", "ACCOUNT_KEY": KEY},
        {},
        (
            "HEAD /box/k\nhost: fromenv.blob.core.windows.net\nx-ms-date: DATE\nx-ms-version: 2023-11-03\n"
            "authorization: SharedKey fromenv:"
        ),
    ),
    "a SAS": (
        {"ACCOUNT": "fromenv", "SAS_TOKEN": SAS},
        {},
        f"HEAD /box/k?{SAS}\nhost: fromenv.blob.core.windows.net\n",
    ),
    "a connection string": ({"CONNECTION_STRING": STRING}, {}, "HEAD /box/k\nhost: other.blob.core.chinacloudapi.cn\n"),
    "a connection string beside another account's name": (
        {"CONNECTION_STRING": STRING},
        {"account_name": "acct", "anonymous": True},
        f"HEAD /box/k\n{HOST}\nx-ms-version: 2023-11-03",
    ),
    "a key for the account that was named": (
        {"ACCOUNT": "acct", "KEY": KEY},
        {"account_name": "acct"},
        f"HEAD /box/k\n{HOST}\n{TAIL}",
    ),
    "a key without an account's name": ({"KEY": KEY}, {"account_name": "acct"}, f"HEAD /box/k\n{HOST}\n{TAIL}"),
    "what is given goes first": (
        {"ACCOUNT": "fromenv", "KEY": "b3RoZXI="},
        dict(ACCOUNT),
        f"HEAD /box/k\n{HOST}\n{TAIL}",
    ),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
async def test_the_environment_gives_what_was_not_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, options, expected = ENVIRONMENTS[name]
    for variable, value in variables.items():
        monkeypatch.setenv(f"AZURE_STORAGE_{variable}", value)
    transport = CannedTransport(THERE)
    client = make_client(AzureConfig(path="az://box", **options), transport=transport, policy=AT_ONCE)
    await client.head("k")
    assert as_text(transport.requests[0]).startswith(expected)


def test_the_environments_key_is_not_sent_to_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "theirs")
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    account = AzureConfig(path="az://box", account_name="acct").account()
    assert (account.name, type(account.credential).__name__) == ("acct", "SignIn")


def test_a_key_of_the_environment_without_an_account_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    with pytest.raises(ValueError, match="AZURE_STORAGE_ACCOUNT"):
        AzureConfig(path="az://box")
    with pytest.raises(ConfigurationError, match="AZURE_STORAGE_ACCOUNT"):
        AzureArtifactStore("az://box")
    with pytest.raises(ConfigurationError, match="AZURE_STORAGE_ACCOUNT") as caught:
        AzureArtifactStore("az://box", endpoint_url="http://127.0.0.1:10000")
    assert KEY not in str(caught.value)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no account": ({}, "set account_name"),
    "an account that cannot be": ({"account_name": "Not_An_Account"}, "3 to 24"),
    "half a principal": ({"account_name": "acct", "client_id": "c"}, "together"),
    "two ways": ({**ACCOUNT, "sas_token": SAS}, "account_key or sas_token"),
    "anonymous with a key": ({**ACCOUNT, "anonymous": True}, "account_key or anonymous"),
    "a key that is none": ({"account_name": "acct", "account_key": "not base64!"}, "base64"),
    "a SAS that is none": ({"account_name": "acct", "sas_token": "sv=1"}, "sig="),
    "a connection string that is none": ({"connection_string": "hello"}, "NAME=VALUE"),
    "a connection string without an account": ({"connection_string": "AccountKey=eA=="}, "AccountName"),
    "a connection string without a secret": ({"connection_string": "AccountName=acct"}, "neither AccountKey"),
    "a connection string of another account": (
        {"connection_string": STRING, "account_name": "acct"},
        "another account",
    ),
    "a connection string and an endpoint": (
        {"connection_string": STRING, "endpoint_url": "https://x.example.com"},
        "connection_string tells",
    ),
    "plain http": ({**ACCOUNT, "endpoint_url": "http://storage.example.com"}, "allow_http"),
    "a sign-in over plain http": (
        {"account_name": "acct", "endpoint_url": "http://storage.example.com", "allow_http": True},
        "must be https",
    ),
    "a metadata address": ({**ACCOUNT, "endpoint_url": "https://169.254.169.254"}, "link-local"),
    "an endpoint with a password": ({**ACCOUNT, "endpoint_url": "https://u:p@x.example.com"}, "user or password"),
    "a container that cannot be": ({"path": "az://No_Container", **ACCOUNT}, "3 to 63"),
    "two hyphens": ({"path": "az://a--b", **ACCOUNT}, "single hyphens"),
    "another account in the path": (
        {"path": "abfs://box@theirs.dfs.core.windows.net/", **ACCOUNT},
        "another account than that of path",
    ),
    "an account in a path of az": ({"path": "az://box@acct.blob.core.windows.net", "account_key": KEY}, "abfs://"),
    "a prefix that would not be kept": ({"path": "az://box/dir./x", **ACCOUNT}, "drops a dot"),
    "an address that leads elsewhere": (
        {"path": "abfs://box@acct.dfs.storage.example/x", "account_key": KEY},
        "a host that is not Azure's",
    ),
    "certificates that are not there": ({**ACCOUNT, "ca_bundle": "/no/such/file"}, "ca_bundle"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_configuration_that_cannot_work_is_refused_in_one_line(name: str) -> None:
    options, expected = REFUSED[name]
    given = {"path": "az://box", **options}
    with pytest.raises((ConfigurationError, InvalidPath)) as caught:
        AzureArtifactStore(**given)
    text = str(caught.value)
    assert expected in text
    assert "\n" not in text
    for secret in (KEY, "c2VjcmV0", "not base64!"):
        assert secret not in text


def test_an_address_leads_elsewhere_where_the_configuration_does() -> None:
    path = "abfs://box@acct.dfs.storage.example/x"
    string = f"AccountName=acct;AccountKey={KEY};"
    for options in (
        {"account_key": KEY, "endpoint_suffix": "storage.example"},
        {"account_key": KEY, "endpoint_url": "https://acct.blob.storage.example"},
        {"connection_string": f"{string}EndpointSuffix=storage.example"},
        {"connection_string": f"{string}BlobEndpoint=https://acct.blob.storage.example"},
    ):
        assert AzureConfig(path=path, **options).account().endpoint.origin.host == "acct.blob.storage.example"


# ---- addresses ---------------------------------------------------------------------------------------------


def test_addresses_of_either_form_name_a_path_below_the_root() -> None:
    long = AzureArtifactStore("abfs://box@acct.dfs.core.windows.net/root", account_key=KEY)
    assert long.path == "abfs://box@acct.dfs.core.windows.net/root"
    for path in (
        "x/y",
        "abfs://box@acct.dfs.core.windows.net/root/x/y",
        "abfss://box@acct.dfs.core.windows.net/root/x/y",
        "az://box/root/x/y",
        "abfs://box/root/x/y",
    ):
        assert long._path(path, "stat") == "x/y"
    assert long.client.uri("root/x") == "abfs://box@acct.dfs.core.windows.net/root/x"
    short = AzureArtifactStore("az://box/root", **ACCOUNT)
    assert short._path("abfs://box/root/x", "stat") == "x"
    assert short.client.uri("root/x") == "az://box/root/x"


@pytest.mark.parametrize(
    "path",
    [
        "abfs://box@theirs.dfs.core.windows.net/root/x",
        "az://other/root/x",
        "az://box/elsewhere",
        "s3://box/root/x",
    ],
)
def test_an_address_elsewhere_is_outside(path: str) -> None:
    store = AzureArtifactStore("abfs://box@acct.dfs.core.windows.net/root", account_key=KEY)
    with pytest.raises(PathOutsideStore):
        store._path(path, "stat")


@pytest.mark.parametrize("key", ["a.", "dir./x", "...", "back\\slash", "a/.../b"])
@pytest.mark.parametrize(
    "run",
    [
        lambda c, key: c.head(key),
        lambda c, key: c.get(key),
        lambda c, key: c.put(key, b"x"),
        lambda c, key: c.delete(key),
        lambda c, key: c.copy(c, "s", key),
        lambda c, key: c.copy(c, key, "t"),
        lambda c, key: c.create_upload(key),
        lambda c, key: c.presign(key, "GET", 60),
    ],
)
async def test_a_name_that_azure_would_take_for_another_is_refused_before_any_request(run: Any, key: str) -> None:
    client, transport = client_of(Reply())
    with pytest.raises(InvalidPath, match="rename it"):
        await run(client, key)
    assert transport.requests == []


async def test_such_a_name_in_a_batch_is_its_own_failure() -> None:
    client, transport = client_of(Reply())
    (failure,) = await client.delete_many(["a."])
    assert failure.key == "a."
    assert transport.requests == []


# ---- pickles and copies between stores ---------------------------------------------------------------------


def test_a_pickle_carries_the_place_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    principal = {"client_id": "id-of-client", "client_secret": "its-secret", "tenant_id": "some-tenant"}
    for options in (dict(ACCOUNT), {"account_name": "acct", **principal}, {"connection_string": STRING}):
        store = AzureArtifactStore("az://box/root", **options)
        packed = pickle.dumps(store)
        for secret in (KEY, "its-secret", "id-of-client", "SharedAccess"):
            assert secret.encode() not in packed
        assert KEY not in repr(store)
        assert KEY not in repr(store.describe())
        again = pickle.loads(packed)
        assert again.config.account().endpoint == store.config.account().endpoint
        assert again.path == store.path
        assert type(again.config.account().credential).__name__ == "SignIn"


def test_stores_of_one_account_and_one_way_copy_from_each_other() -> None:
    def client(**options: Any) -> Any:
        return make_client(AzureConfig(**{"path": "az://box", **ACCOUNT, **options}))

    assert client().copies_from(client(path="az://another"))
    assert client().copies_from(client(path="abfs://box/x", client="sdk"))
    assert not client().copies_from(client(account_name="other"))
    assert not client().copies_from(client(account_key=None, sas_token=SAS))
    assert not client(account_key=None, sas_token=SAS).copies_from(client(account_key=None, sas_token=SAS + "x"))
