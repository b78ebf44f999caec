"""Datasets of the managed wire: forms, signed addresses, and when they are READY."""

import time

import pytest
from server.fireworks.conftest import ACCOUNT, ROWS, Call

SEND = {"Content-Type": "application/octet-stream", "X-Goog-Content-Length-Range": f"{len(ROWS)},{len(ROWS)}"}


def made(call: Call, dataset_id: str = "d1", **said: object) -> None:
    answer = call("POST", "/datasets", json={"datasetId": dataset_id, "dataset": {"exampleCount": "9", **said}})
    assert answer.status_code == 200, answer.text


def address(call: Call, name: str = "rows.jsonl", size: int = len(ROWS)) -> str:
    answer = call("POST", "/datasets/d1:getUploadEndpoint", json={"filenameToSize": {name: str(size)}})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["filenameToSignedUrls"][name])


def local(url: str) -> str:
    assert url.startswith("http://tunesmith/")
    return url.removeprefix("http://tunesmith")


def test_a_form_makes_it_ready(call: Call):
    made(call, displayName="Sums", evalProtocol={})
    before = call("GET", "/datasets/d1").json()
    assert (before["state"], before["exampleCount"], before["evalProtocol"]) == ("UPLOADING", "9", {})
    sent = call("POST", "/datasets/d1:upload", files={"file": ("a.jsonl", ROWS)}).json()
    assert sent["object"] == "file" and sent["bytes"] == len(ROWS)
    now = call("GET", "/datasets/d1").json()
    assert (now["name"], now["state"], now["exampleCount"]) == ("accounts/somebody/datasets/d1", "READY", "4")
    assert (now["displayName"], now["format"]) == ("Sums", "FORMAT_UNSPECIFIED")
    assert now["status"] == {"code": "OK", "message": ""}
    again = call("POST", "/datasets/d1:upload", files={"file": ("a.jsonl", ROWS)})
    assert again.status_code == 400 and "does not change any more" in again.json()["message"]


def test_a_signed_address_takes_the_file_without_a_key(call: Call, ask):
    made(call)
    url = local(address(call))
    assert ask("PUT", url, content=ROWS, headers=SEND).status_code == 200
    assert call("GET", "/datasets/d1").json()["state"] == "UPLOADING"
    assert call("POST", "/datasets/d1:validateUpload", json={}).json() == {}
    assert call("GET", "/datasets/d1").json()["state"] == "READY"
    assert ask("PUT", url, content=ROWS, headers=SEND).status_code == 400, "it is READY"
    links = call("GET", "/datasets/d1:getDownloadEndpoint").json()["filenameToSignedUrls"]
    assert ask("GET", local(links["d1.jsonl"])).content == ROWS


def test_an_address_is_good_for_one_thing_and_one_day(call: Call, ask, monkeypatch):
    made(call)
    url = local(address(call))
    root, until, signature, told = url.rsplit("/", 3)
    for method, other in (
        ("PUT", f"{root}/{int(until) + 1}/{signature}/{told}"),
        ("PUT", f"{root}/{until}/{signature}/{told[:-4]}AAAA"),
        ("PUT", f"{root}/{until}/{signature[::-1]}/{told}"),
        ("PUT", f"{root}/{until}/%C3%BC/{told}"),
        ("GET", f"/tunesmith/v1/files/{until}/{signature}/{told}"),
    ):
        assert ask(method, other, content=ROWS, headers=SEND).status_code == 403, other
    assert ask("PUT", url, content=ROWS + b"x").status_code == 400
    assert ask("PUT", url, content=ROWS[:-1]).status_code == 400
    monkeypatch.setattr("tunesmith.server.signed.time", lambda: time.time() + 25 * 3600)
    assert ask("PUT", url, content=ROWS).status_code == 403


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\nb", "x" * 201])
def test_names_that_are_no_files(call: Call, name: str):
    made(call)
    answer = call("POST", "/datasets/d1:getUploadEndpoint", json={"filenameToSize": {name: "1"}})
    assert answer.status_code == 400 and "is no name of a file" in answer.json()["message"]


def test_a_bad_line_is_named_and_the_file_can_be_sent_again(call: Call):
    made(call)
    bad = ROWS + b"{oops\n"
    refused = call("POST", "/datasets/d1:upload", files={"file": ("a.jsonl", bad)})
    assert refused.status_code == 400
    assert "Dataset validation failed: invalid JSON on line 5" in refused.json()["message"]
    status = call("GET", "/datasets/d1").json()
    assert status["state"] == "UPLOADING" and status["status"]["code"] == "INVALID_ARGUMENT"
    assert call("POST", "/datasets/d1:upload", files={"file": ("a.jsonl", ROWS)}).status_code == 200


def test_what_is_not_taken(call: Call):
    made(call)
    assert call("POST", "/datasets/d1:upload", files={"other": ("a", b"x")}).status_code == 400
    assert call("POST", "/datasets/d1:upload", content=b"x").status_code == 400
    assert call("POST", "/datasets/d1:validateUpload").status_code == 400, "there is no file yet"
    assert call("GET", "/datasets/d1:getDownloadEndpoint").status_code == 400
    two = {"filenameToSize": {"a.jsonl": "1", "b.jsonl": "1"}}
    assert "2 files" in call("POST", "/datasets/d1:getUploadEndpoint", json=two).json()["message"]
    assert call("GET", "/datasets/none").status_code == 404
    remote = {"datasetId": "d3", "dataset": {"externalUrl": "gs://x/y"}}
    assert "does not fetch" in call("POST", "/datasets", json=remote).json()["message"]


def test_a_name_that_is_taken_is_409_and_no_reason_to_try_again(call: Call):
    made(call)
    body = {"datasetId": "d1", "dataset": {"exampleCount": "9"}}
    refused = call("POST", "/datasets", json=body)
    assert refused.status_code == 409 and refused.headers["x-should-retry"] == "false"
    assert refused.json()["code"] == 6
    again = call("POST", "/datasets", json=body, headers={"x-stainless-retry-count": "1"})
    assert again.status_code == 200, "the answer to the first was lost"


def test_changed_and_deleted(call: Call, uploaded):
    uploaded("d1")
    assert call("PATCH", "/datasets/d1", json={"displayName": "E"}).json()["displayName"] == "E"
    flat = call("PATCH", "/datasets/d1", json={"format": "CHAT", "display_name": None}).json()
    assert (flat["displayName"], flat["format"]) == ("E", "CHAT")
    assert call("DELETE", "/datasets/d1", headers={"Content-Type": "application/json"}).json() == {}
    assert call("GET", "/datasets/d1").status_code == 404


def test_other_accounts_are_refused(call: Call, ask, key: str):
    headers = {"authorization": f"Bearer {key}"}
    refused = ask("GET", "/v1/accounts/another/datasets", headers=headers)
    assert refused.status_code == 403 and refused.json()["code"] == 7
    assert ask("GET", ACCOUNT + "/datasets").status_code == 401
