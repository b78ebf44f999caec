"""Datasets, models and keys over our own wire."""

import base64
import hashlib
import io
import json
import tarfile

import pytest
from server.rest.conftest import ROWS, lines

from tunesmith.services.registry import EMBEDDED


def test_an_upload_is_one_request(call):
    data = lines("sft")
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    status, body = call("PUT", "/datasets/mine?kind=sft", {"content-digest": f"sha-256=:{digest}:"}, content=data)
    assert (status, body["state"], body["verdict"]["rows"], body["num_bytes"]) == (200, "READY", 4, len(data))
    assert call("GET", "/datasets/mine")[1] == body
    assert call("GET", "/datasets")[1]["items"] == [body]
    assert call("PUT", "/datasets/mine?kind=sft", content=data)[0] == 409
    assert call("DELETE", "/datasets/mine")[0] == 204
    assert call("GET", "/datasets/mine")[0] == 404


def test_a_bad_file_is_kept_with_all_its_problems_until_a_better_one_comes(call):
    bad = lines("sft") + b'{"messages": []}\nnot json\n'
    _, body = call("PUT", "/datasets/mine?kind=sft", content=bad)
    assert (body["state"], body["verdict"]["num_problems"]) == ("FAILED", 2)
    assert [text.partition(": ")[0] for text in body["verdict"]["problems"]] == ["mine.jsonl:5", "mine.jsonl:6"]
    assert call("GET", "/datasets?state=FAILED")[1]["total"] == 1
    assert call("PUT", "/datasets/mine?kind=sft", content=lines("sft"))[1]["state"] == "READY"


@pytest.mark.parametrize("digest", ["sha-256=:AAAA:", f"sha-256=:{'A' * 43}=:"])
def test_what_arrived_otherwise_than_sent_leaves_nothing(call, digest):
    assert call("PUT", "/datasets/mine", {"content-digest": digest}, content=lines("sft"))[0] == 400
    assert call("GET", "/datasets/mine")[0] == 404


def test_ids_are_no_paths(call):
    for name in ("..%2Fx", "A", "x" * 64, "%00"):
        assert call("PUT", f"/datasets/{name}", content=lines("sft"))[0] in (400, 404), name


def test_a_check_is_for_a_kind(call, upload):
    upload("sft")
    assert call("GET", "/datasets/sft/check?kind=sft")[1]["refusal"] == ""
    verdict = call("GET", "/datasets/sft/check?kind=dpo")[1]
    assert verdict["num_problems"] >= 4 and "dpo" not in verdict["problems"]
    assert call("GET", "/datasets/sft/check?kind=odd")[0] == 400


def test_a_preview_shows_what_is_trained(call, upload):
    upload("sft"), upload("dpo")
    (row,) = call("GET", "/datasets/sft/preview?kind=sft&rows=1")[1]["items"]
    trained = "".join(part["text"] for part in row["parts"] if part["weight"])
    assert trained.startswith("4") and row["num_tokens"] > 4
    assert [row["label"] for row in call("GET", "/datasets/dpo/preview?kind=dpo&rows=1")[1]["items"]] == [
        "preferred",
        "not preferred",
    ]


def test_a_file_comes_back_as_it_was_sent(ask, key, upload):
    answer = ask("GET", f"/api/v1/datasets/{upload('rft')}/content", headers={"x-api-key": key})
    assert [json.loads(line) for line in answer.text.splitlines()] == [ROWS["rft"]] * 4


def test_a_dataset_in_use_stays(call, upload):
    upload("sft")
    made = call("POST", "/jobs", json={"kind": "sft", "dataset": "sft"})[1]["id"]
    assert call("DELETE", "/datasets/sft")[0] == 409
    assert call("POST", f"/jobs/{made}/cancel")[0] == 200
    assert call("DELETE", "/datasets/sft")[0] == 204


@pytest.fixture
def tuned(app, tmp_path):
    """A tuned model of somebody: its name."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 4}')
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    app.state.tuned_models.add("somebody", "mine", EMBEDDED, folder)
    return "mine"


def test_models_are_listed_renamed_and_removed(call, tuned):
    listed = call("GET", "/models")[1]["items"]
    assert [(model["name"], model["base_model"]) for model in listed] == [(EMBEDDED, None), ("mine", EMBEDDED)]
    assert call("GET", f"/models/{EMBEDDED}")[1] == listed[0]
    assert call("POST", "/models/mine/rename", json={"name": EMBEDDED})[0] == 409
    assert call("POST", "/models/mine/rename", json={"name": "theirs"})[1]["name"] == "theirs"
    assert call("GET", "/models/mine")[1]["error"]["mend"].startswith("Known: ")
    assert call("DELETE", "/models/theirs")[0] == 204
    assert call("DELETE", f"/models/{EMBEDDED}")[0] == 403


def test_a_model_is_downloaded_as_tar(ask, key, tuned):
    answer = ask("GET", f"/api/v1/models/{tuned}/download", headers={"x-api-key": key})
    assert int(answer.headers["content-length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}
    assert found == {"mine/adapter_config.json": b'{"r": 4}', "mine/adapter_model.safetensors": b"weights"}


def test_keys_are_of_their_owner(app, ask, call):
    made = call("POST", "/keys", json={"name": "laptop"})[1]
    assert [one["name"] for one in call("GET", "/keys")[1]["items"]] == ["", "laptop"]
    theirs = app.state.keys.find(app.state.keys.create("else")).id
    assert call("DELETE", f"/keys/{theirs}")[0] == 404
    assert call("DELETE", f"/keys/{made['id']}")[1]["revoked_at"]
    assert ask("GET", "/api/v1/keys", headers={"x-api-key": made["key"]}).status_code == 401
