"""Evaluators over the wire: created, uploaded to a signed address, built, shown with log and source, deleted."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from evaluators.projects import GRADER, packed
from server.running import RunningServer

ROOT = "/v1/accounts/default/evaluators"
Ask = Callable[..., httpx2.Response]


@pytest.fixture(scope="module")
def ask(server: RunningServer) -> Iterator[Ask]:
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx2.Client(base_url=server.base_url, headers=headers, timeout=60) as client:
        yield client.request


def create(ask: Ask, name: str, entry: str = "a.py::grade") -> Any:
    body = {"evaluatorId": name, "evaluator": {"displayName": "E", "entryPoint": entry, "commitHash": "None+unknown"}}
    answer = ask("POST", "/v1/accounts/default/evaluatorsV2", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def upload(ask: Ask, name: str, data: bytes, filename: str = "project.tar.gz") -> httpx2.Response:
    """As clients do: the address authenticates itself."""
    asked = ask("POST", f"{ROOT}/{name}:getUploadEndpoint", json={"filenameToSize": {filename: str(len(data))}})
    url = asked.json()["filenameToSignedUrls"][filename]
    sent = {"content-type": "application/octet-stream", "x-goog-content-length-range": f"{len(data)},{len(data)}"}
    return httpx2.put(url, content=data, headers=sent)


def built(ask: Ask, name: str) -> Any:
    assert ask("POST", f"{ROOT}/{name}:validateUpload", json={}).json() == {}
    deadline = time.monotonic() + 60
    while (found := ask("GET", f"{ROOT}/{name}").json())["state"] == "BUILDING":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_an_evaluator_from_upload_to_deletion(ask: Ask):
    made = create(ask, "sums")
    assert made["name"] == "accounts/default/evaluators/sums" and made["state"] == "BUILDING"
    data = packed({"a.py": GRADER})
    assert upload(ask, "sums", data).status_code == 200
    found = built(ask, "sums")
    assert (found["state"], found["status"], found["commitHash"]) == (
        "ACTIVE",
        {"code": "OK", "message": ""},
        "None+unknown",
    )
    log = ask("GET", f"{ROOT}/sums:getBuildLogEndpoint").json()["buildLogSignedUri"]
    assert "ready" in httpx2.get(log).text
    sources = ask("GET", f"{ROOT}/sums:getSourceCodeSignedUrl").json()["filenameToSignedUrls"]
    assert httpx2.get(sources["project.tar.gz"]).content == data
    assert ask("PATCH", f"{ROOT}/sums", json={"displayName": "Sums"}).json()["displayName"] == "Sums"
    listed = ask("GET", ROOT, params={"pageSize": 1}).json()
    assert [e["displayName"] for e in listed["evaluators"]] == ["Sums"] and listed["totalSize"] == 1
    assert ask("DELETE", f"{ROOT}/sums").json() == {}
    assert ask("GET", f"{ROOT}/sums").status_code == 404


def test_a_build_that_fails_says_why(ask: Ask):
    create(ask, "broken")
    upload(ask, "broken", packed({"a.py": "def grade(completion, row):\n    return undefined +\n"}))
    found = built(ask, "broken")
    assert found["state"] == "BUILD_FAILED" and "line 2" in found["status"]["message"]


def test_refusals(ask: Ask, server: RunningServer):
    create(ask, "mine")
    assert ask("POST", f"{ROOT}/mine:validateUpload", json={}).status_code == 400
    bad = ask("POST", f"{ROOT}/mine:getUploadEndpoint", json={"filenameToSize": {"../x.tar.gz": "1"}})
    assert bad.status_code == 400 and "filename" in bad.json()["message"]
    assert ask("POST", "/v1/accounts/default/evaluatorsV2", json={"evaluatorId": "mine"}).status_code == 400
    assert ask("GET", "/v1/accounts/other/evaluators/mine").status_code == 403
    asked = ask("POST", f"{ROOT}/mine:getUploadEndpoint", json={"filenameToSize": {"a.py": 1}})
    url = asked.json()["filenameToSignedUrls"]["a.py"]
    assert httpx2.put(url[:-8] + "AAAAAAAA", content=b"x").status_code == 403
    assert httpx2.get(f"{server.base_url}{ROOT}").status_code == 401
