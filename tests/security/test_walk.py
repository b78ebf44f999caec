"""Who may do what, asked of every route: no key, bad keys, small keys, other people's things, crooked paths."""

import json
import sqlite3
import time
from pathlib import Path

import httpx2
import pytest
from security.walk import Answer, Ask, Route, routes, send
from server.running import RunningServer

from tunesmith.server.auth import scope_for
from tunesmith.services.keys import Keys
from tunesmith.services.store import FILE_NAME, file_url, open_store

pytestmark = pytest.mark.thorough
PUBLIC = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/api/v1/healthz"),
    ("GET", "/metrics"),  # of a server that only its own machine reaches
    ("GET", "/openapi.json"),
    ("GET", "/dashboard/login"),
    ("POST", "/dashboard/login"),
    ("POST", "/dashboard/logout"),
    ("GET", "/dashboard/static/{digest}/{name}"),
    ("GET", "/tunesmith/v1/files/{until}/{signature}/{relative}"),  # the signature is the key
    ("PUT", "/tunesmith/v1/uploads/{until}/{signed}/{told}"),
}
HUB = ("/api/models/", "/api/datasets/", "/{org}/", "/datasets/{org}/")
"""Read without a key by libraries that send none; holds what its owner put there for everybody."""
ROUTES = routes()
GUARDED = [r for r in ROUTES if (r.method, r.path) not in PUBLIC and not r.path.startswith(HUB)]
ROW = b'{"messages": [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]}\n'
CROOKED = [
    "..",
    "../../../../etc/passwd",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%252f..%252fetc%252fpasswd",
    "%2fetc%2fpasswd",
    "x%00.jsonl",
    "..%5c..%5cetc%5cpasswd",
    "C:%5cwindows",
    "%ef%bc%8e%ef%bc%8e%ef%bc%8fetc",
    "%c0%ae%c0%ae%2f",
    "-rf",
    "~",
    "a" * 300,
    "%ed%a0%80",
]


@pytest.fixture(scope="module")
def keys(guarded: RunningServer) -> Keys:
    return Keys(open_store(file_url(guarded.data_dir)))


def refused(answer: Answer) -> bool:
    """Whether a request without a right got nothing: pages send it to where one logs in."""
    if "/dashboard" in answer.ask.path and answer.status in (303, 404):
        return answer.status == 404 or answer.location.startswith("/dashboard")
    return answer.status in (401, 403)


def test_the_walk_sees_the_server() -> None:
    assert len(ROUTES) > 200 and len(GUARDED) > 180
    for place in PUBLIC:
        assert Route(*place) in ROUTES, f"{place} is gone: take it off the list"


def test_no_route_answers_without_a_good_key(guarded: RunningServer, keys: Keys) -> None:
    revoked, expired = keys.create("ann"), keys.create("ann", days=1e-9)
    info = keys.find(revoked)
    assert info is not None
    keys.revoke(info.id)
    bad = [(), *((("x-api-key", key),) for key in ("tml-wrong", "", revoked, expired, guarded.key[:-1]))]
    bad += [(("authorization", f"Basic {guarded.key}"),), (("cookie", f"key={guarded.key}"),)]
    asks = [Ask(r.method, r.filled({}), headers) for r in GUARDED for headers in bad]
    asks += [Ask(r.method, f"{r.filled({})}?{name}={guarded.key}") for r in GUARDED for name in ("key", "api_key")]
    assert [(a.ask, a.status) for a in send(guarded.base_url, asks) if not refused(a)] == []


def test_crooked_ways_to_a_route_lead_nowhere(guarded: RunningServer) -> None:
    asks = []
    for route in GUARDED:
        path = route.filled({})
        asks += [Ask(route.method, way) for way in (f"/{path}", f"/..;{path}", f"{path}/", f"/healthz/..{path}")]
        asks += [
            Ask(route.method, way) for way in (path.replace("/", "//", 2), f"/%2e%2e{path}", f"{path};x", f"{path}%00")
        ]
        asks += [Ask(method, path) for method in ("HEAD", "OPTIONS", "TRACE", "PROPFIND")]
        asks += [Ask("POST", path, (("x-http-method-override", route.method),))]
    odd = [a for a in send(guarded.base_url, asks) if not (refused(a) or a.status in (400, 404, 405))]
    assert [(a.ask.method, a.ask.path, a.status) for a in odd] == []


def test_a_header_s_case_and_a_bearer_s_do_not_matter(guarded: RunningServer, keys: Keys) -> None:
    key = keys.create("ann")  # of its own: other tests walk routes that revoke keys
    ways = [("X-API-KEY", key), ("AUTHORIZATION", f"bearer {key}"), ("Authorization", f"Bearer {key}")]
    asks = [Ask("GET", "/api/v1/jobs", (way,)) for way in ways]
    assert [a.status for a in send(guarded.base_url, asks)] == [200] * 3


@pytest.mark.parametrize("scope", ["read", "infer", "train"])
def test_a_small_key_may_do_what_its_scope_says(guarded: RunningServer, keys: Keys, scope: str) -> None:
    """What it may not is refused before the request is looked at; what it may is answered like anyone's."""
    headers = (("x-api-key", keys.create("small", scope=scope)),)
    asks = [Ask(r.method, r.filled({"account": "small"}), headers) for r in GUARDED if "/dashboard" not in r.path]
    order = ["read", "infer", "train", "admin"]
    for answer in send(guarded.base_url, asks):
        needed = scope_for(answer.ask.method, answer.ask.path)
        said = f"may not do this, which needs '{needed}'" in answer.text
        assert said == (order.index(needed) > order.index(scope)), (answer.ask, answer.status, answer.text[:200])
        assert answer.status == 403 if said else answer.status < 500


def things_of(guarded: RunningServer, key: str) -> dict[str, str]:
    """Things of an account, by the names that routes have for them."""
    with httpx2.Client(base_url=guarded.base_url, headers={"x-api-key": key}, timeout=60) as client:

        def made(method: str, path: str, **request: object) -> dict[str, str]:
            answer = client.request(method, path, **request)  # type: ignore[arg-type]
            assert answer.status_code < 300, answer.text
            found: dict[str, str] = answer.json()
            return found

        made("PUT", "/api/v1/datasets/sums", params={"kind": "sft"}, content=ROW * 8)
        asked = {"kind": "sft", "dataset": "sums", "base_model": "tunesmith/embedded", "epochs": 1}
        job = made("POST", "/api/v1/jobs", json=asked)["id"]
        made("POST", f"/api/v1/jobs/{job}/cancel")
        while made("GET", f"/api/v1/jobs/{job}")["state"] != "cancelled":
            time.sleep(0.1)
        file = made("POST", "/v1/files", files={"file": ("a.jsonl", ROW * 8)}, data={"purpose": "fine-tune"})["id"]
        session = made(
            "POST", "/api/v1/create_session", json={"tags": [], "sdk_version": "1", "type": "create_session"}
        )
        secret = {"keyName": "JUDGE", "value": "canary-of-ann-0123456789"}
        made("POST", "/v1/accounts/ann/secrets", json=secret)
        key_id = made("POST", "/api/v1/keys", json={"name": "second"})["id"]
    return {
        "dataset_id": "sums",
        "job_id": job,
        "file_id": file,
        "session_id": session["session_id"],
        "secret_id": "JUDGE",
        "key_id": key_id,
        "account": "ann",
        "name": job,
        "job": job,
    }


def test_other_people_s_things_are_not_there(guarded: RunningServer, keys: Keys) -> None:
    """Each route with the ids of ann's things, asked by bob: nothing of hers is shown, changed or taken away."""
    ann = keys.create("ann")
    things = things_of(guarded, ann)
    before = rows_of(guarded, "ann")
    headers = (("x-api-key", keys.create("bob")),)
    owned = [r for r in GUARDED if set(r.parameters) & set(things) and "/dashboard" not in r.path]
    answers = send(guarded.base_url, [Ask(r.method, r.filled(things), headers) for r in owned])
    odd = [(a.ask.method, a.ask.path, a.status) for a in answers if a.status < 400 or a.status >= 500]
    # What the server says of itself, base models, and a dataset of bob's own under the name of ann's.
    general = ("/client/config", "/get_server_capabilities", "/telemetry", "/ann/models", "/api/v1/datasets/sums")
    assert not (odd := [o for o in odd if not o[1].endswith(general)]), "\n".join(map(str, odd))
    for answer in answers:
        assert "canary-of-ann" not in answer.text
    assert rows_of(guarded, "ann") == before


def rows_of(guarded: RunningServer, owner: str) -> dict[str, list[str]]:
    """Every row of an owner but for the times at which keys were used."""
    with sqlite3.connect(guarded.data_dir / FILE_NAME) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        owned = [t for t in tables if "owner" in {column[1] for column in db.execute(f'PRAGMA table_info("{t}")')}]
        found = {t: sorted(map(repr, db.execute(f'SELECT * FROM "{t}" WHERE owner = ?', (owner,)))) for t in owned}
    db.close()
    found.pop("keys")
    return found


def test_no_name_leads_out_of_the_data_directory(guarded: RunningServer, keys: Keys) -> None:
    headers = (("x-api-key", keys.create("ann")),)
    outside = sorted(p.name for p in guarded.data_dir.parent.iterdir())
    asks = [
        Ask(r.method, r.filled({"account": "ann"}, bad), headers)
        for r in ROUTES
        for bad in CROOKED
        if set(r.parameters) - {"account"}
    ]
    answers = send(guarded.base_url, asks)
    assert [(a.ask, a.status, a.text[:200]) for a in answers if a.status >= 500 or "root:" in a.text] == []
    assert sorted(p.name for p in guarded.data_dir.parent.iterdir()) == outside
    strange = [p for p in guarded.data_dir.rglob("*") if ".." in p.name or "passwd" in p.name or p.name == "-rf"]
    assert strange == []


def test_secrets_are_in_no_log_row_metric_or_file(guarded: RunningServer, keys: Keys) -> None:
    """Keys and a stored secret, after all of the above: in answers to the owner alone, if at all."""
    canary = "canary-of-cy-5f2d8a61"
    key = keys.create("cy")
    headers = (("x-api-key", key), ("authorization", f"Bearer {key}"))
    secret = json.dumps({"keyName": "JUDGE", "value": canary}).encode()
    [made] = send(guarded.base_url, [Ask("POST", "/v1/accounts/cy/secrets", headers, secret)])
    assert made.status == 200, made.text
    asks = [Ask(r.method, r.filled({"account": "cy", "secret_id": "JUDGE", "name": "JUDGE"}), headers) for r in GUARDED]
    asks += [Ask("GET", "/metrics"), Ask("GET", "/openapi.json")]
    for answer in send(guarded.base_url, asks):
        assert canary not in answer.text and key not in answer.text, answer.ask
    kept = [Path(guarded.data_dir.with_name("data.log")), *(p for p in guarded.data_dir.rglob("*") if p.is_file())]
    holders = [p for p in kept for text in (canary, key, guarded.key) if text.encode() in p.read_bytes()]
    # The first key is shown once to whoever started the server, and that is where it is shown.
    assert [p.name for p in holders] == ["data.log"]
    assert guarded.log().count(guarded.key) == 1
