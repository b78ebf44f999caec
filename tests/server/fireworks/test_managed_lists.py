"""Lists of the managed wire: pages, filters, orders, masks; and the shape of refusals."""

import json

import pytest
from server.fireworks.conftest import Call

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.fireworks.managed.filters import parse_filter

ROW = {
    "name": "accounts/a/datasets/one",
    "state": "READY",
    "displayName": 'Sums of "two"',
    "exampleCount": "4",
    "epochs": 2,
    "tags": ["x", "y"],
    "trainingConfig": {"loraRank": 8},
    "evalProtocol": {},
    "turbo": False,
}


def make(call: Call, *ids: str) -> None:
    for dataset_id in ids:
        said = {"displayName": f"Set {dataset_id}"}
        assert call("POST", "/datasets", json={"datasetId": dataset_id, "dataset": said}).status_code == 200


def listed(call: Call, **params: object) -> list[str]:
    answer = call("GET", "/datasets", params=params)
    assert answer.status_code == 200, answer.text
    return [row["name"].rpartition("/")[2] for row in answer.json()["datasets"]]


def test_pages_hold_everything_once(call: Call):
    make(call, *"gfedcba")
    found, token = [], ""
    for _ in range(4):
        page = call("GET", "/datasets", params={"pageSize": 2, "pageToken": token}).json()
        assert page["totalSize"] == 7
        found += [row["name"][-1] for row in page["datasets"]]
        token = page["nextPageToken"]
    assert found == list("abcdefg") and token == ""


def test_a_page_goes_on_after_its_last_row_whatever_was_made_or_deleted(call: Call):
    make(call, *"bcde")
    token = call("GET", "/datasets", params={"pageSize": 2}).json()["nextPageToken"]
    make(call, "a")
    assert listed(call, pageToken=token) == ["d", "e"]
    call("DELETE", "/datasets/c")
    assert listed(call, pageToken=token) == ["d", "e"]


@pytest.mark.parametrize("token", ["x", "e30=", "bnVsbA==", "WzEsMiwzXQ==", "ü", "W1tbW1tb", "a" * 5000, "W10="])
def test_tokens_of_nobody(call: Call, token: str):
    refused = call("GET", "/datasets", params={"pageToken": token})
    assert refused.status_code == 400 and "pageToken" in refused.json()["message"]


def test_a_token_belongs_to_its_list(call: Call):
    make(call, *"ab")
    token = call("GET", "/datasets", params={"pageSize": 1}).json()["nextPageToken"]
    refused = call("GET", "/datasets", params={"pageToken": token, "filter": 'state="READY"'})
    assert refused.status_code == 400 and "another filter" in refused.json()["message"]


@pytest.mark.parametrize(("size", "status"), [("0", 200), ("200", 200), ("9999", 200), ("-1", 400), ("x", 400)])
def test_sizes(call: Call, size: str, status: int):
    assert call("GET", "/datasets", params={"pageSize": size}).status_code == status


def test_filters_and_orders_of_a_list(call: Call, uploaded):
    make(call, "b", "c")
    uploaded("a")
    assert listed(call, filter='state="READY"') == ["a"]
    assert listed(call, filter='state != "READY" AND displayName:"SET c"') == ["c"]
    assert listed(call, orderBy="create_time desc") == ["a", "c", "b"]
    assert listed(call, orderBy="state, name desc") == ["a", "c", "b"]
    assert listed(call, orderBy="nothing") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        ("", True),
        ('state="READY"', True),
        ("state=READY", True),
        ("state = 'READY'", True),
        ('state!="READY"', False),
        ("display_name:sums", True),
        (r'displayName="Sums of \"two\""', True),
        ("exampleCount=4", True),
        ("epochs=2 AND training_config.lora_rank=8", True),
        ("epochs=2 AND training_config.lora_rank=4", False),
        ("tags:x", True),
        ("tags:z", False),
        ("training_config:loraRank", True),
        ("evalProtocol:*", True),
        ("userUploaded:*", False),
        ('displayName:"*"', False),
        ("turbo=false", True),
        ("none=x", False),
        ("none!=x", True),
    ],
)
def test_filters(text: str, keeps: bool):
    assert parse_filter(text)(ROW) is keeps


@pytest.mark.parametrize(
    "text",
    [
        "state",
        "state=",
        "=x",
        "state=a OR state=b",
        "NOT state=a",
        "-state=a",
        "(state=a)",
        "a>1",
        "a<=1",
        "a=1 b=2",
        "a=1 AND",
        'a="x',
        "a=x*",
        "a.=1",
        "AND",
        "f(x)=1",
        "a==b",
        "x" * 3000,
        "\x00=1",
    ],
)
def test_filters_that_are_refused(text: str):
    with pytest.raises(UserError, match="filter"):
        parse_filter(text)


def test_masks(call: Call):
    make(call, "a")
    assert call("GET", "/datasets/a", params={"readMask": "display_name,status.code"}).json() == {
        "displayName": "Set a",
        "status": {"code": "OK"},
    }
    assert "state" in call("GET", "/datasets/a", params={"readMask": "*"}).json()
    assert call("GET", "/datasets", params={"readMask": "name"}).json()["datasets"] == [
        {"name": "accounts/somebody/datasets/a"}
    ]
    assert call("GET", "/datasets/a", params={"readMask": "a b"}).status_code == 400


def test_refusals_have_both_shapes_and_no_nulls(call: Call):
    refused = call("GET", "/datasets/none")
    assert refused.status_code == 404 and refused.headers["x-should-retry"] == "false"
    body = refused.json()
    assert body["code"] == 5 and body["message"] == body["error"]["message"]
    assert body["details"][0]["reason"] == body["error"]["code"] == "NOT_FOUND"
    assert body["details"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert "null" not in json.dumps(body)


@pytest.mark.parametrize(
    "content", [b"[]", b"3", b'"x"', b"{", b"\xff", b'{"datasetId": 3}', b'{"datasetId": ""}', b'{"datasetId": "A"}']
)
def test_nonsense_is_refused(call: Call, content: bytes):
    answer = call("POST", "/datasets", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert call("POST", "/secrets", content=content).status_code == 400


def test_what_nobody_knows_is_left_alone_and_null_is_nothing(call: Call):
    body = {"datasetId": "a", "future": 1, "dataset": {"displayName": None, "novelty": {"x": [1]}}, "sourceId": None}
    assert call("POST", "/datasets", json=body).json()["displayName"] == ""
