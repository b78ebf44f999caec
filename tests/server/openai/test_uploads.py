"""Files in parts, by hand: order, doubles, what is refused, what time and other owners may not touch."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from server.conftest import Ask
from sqlalchemy import update

from tunesmith.services import partial_uploads
from tunesmith.services.keys import Keys
from tunesmith.services.records import RecordRow

ROW = b'{"messages": [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]}\n'
PARTS = (ROW * 3 + ROW[:20], ROW[20:] + ROW, ROW * 2)
WHOLE = b"".join(PARTS)
BEGIN = {"bytes": len(WHOLE), "filename": "sums.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}


@pytest.fixture
def call(ask: Ask, key: str) -> Any:
    """``call("POST", "/v1/...")`` with a key: (status, body)."""

    def one(method: str, path: str, key: str = key, **request: Any) -> tuple[int, Any]:
        answer = ask(method, f"/v1{path}", headers={"authorization": f"Bearer {key}"}, **request)
        return answer.status_code, answer.json()

    return one


@pytest.fixture
def begun(call: Any) -> str:
    status, body = call("POST", "/uploads", json=BEGIN)
    assert (status, body["status"], body["file"]) == (200, "pending", None), body
    assert body["expires_at"] - body["created_at"] == 3600
    return str(body["id"])


def add(call: Any, upload: str, data: bytes, **given: Any) -> str:
    status, body = call("POST", f"/uploads/{upload}/parts", files={"data": ("part", data)}, **given)
    assert (status, body["object"], body["upload_id"]) == (200, "upload.part", upload), body
    return str(body["id"])


def test_parts_in_any_order_become_a_file(call: Any, begun: str, app: FastAPI, tmp_path: Path) -> None:
    """One of them twice, as a client sends it whose answer was lost; asked again, completing says the same."""
    last, first, _, middle = (add(call, begun, PARTS[i]) for i in (2, 0, 0, 1))
    asked = {"part_ids": [first, middle, last], "md5": hashlib.md5(WHOLE, usedforsecurity=False).hexdigest()}
    status, done = call("POST", f"/uploads/{begun}/complete", json=asked)
    assert (status, done["status"], done["file"]["bytes"]) == (200, "completed", len(WHOLE)), done
    assert (done["file"]["filename"], done["file"]["purpose"]) == ("sums.jsonl", "fine-tune")
    assert app.state.datasets.file("somebody", done["file"]["id"]).read_bytes() == WHOLE
    assert call("POST", f"/uploads/{begun}/complete", json=asked) == (200, done)
    assert list((tmp_path / "data" / "parts").iterdir()) == []
    assert "is completed" in call("POST", f"/uploads/{begun}/cancel")[1]["error"]["message"]


def test_what_does_not_fit_together_is_refused_and_can_be_mended(call: Any, begun: str) -> None:
    ids = [add(call, begun, part) for part in PARTS]
    for part_ids, says in (
        (ids[:2], "have 450 bytes together, the upload was to have 630"),
        ([*ids[:2], "part-none"], "no part 'none' has arrived"),
        ([*ids[:2], "../../server.lock"], "no part '../../server.lock' has arrived"),
        (ids[::-1], "on line"),
    ):
        status, body = call("POST", f"/uploads/{begun}/complete", json={"part_ids": part_ids})
        assert status in (400, 404) and says in body["error"]["message"], body
    status, body = call("POST", f"/uploads/{begun}/complete", json={"part_ids": ids, "md5": "0" * 32})
    assert (status, body["error"]["param"]) == (400, "md5")
    assert call("GET", "/files")[1]["data"] == [], "nothing of the tries is kept"
    assert call("POST", f"/uploads/{begun}/complete", json={"part_ids": ids})[0] == 200


def test_limits(call: Any, begun: str, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    most = app.state.settings.max_dataset_bytes
    assert (
        f"is more than {most:,}" in call("POST", "/uploads", json={**BEGIN, "bytes": most + 1})[1]["error"]["message"]
    )
    assert call("POST", "/uploads", json={**BEGIN, "purpose": "vision"})[1]["error"]["param"] == "purpose"
    assert call("POST", "/uploads", json={**BEGIN, "expires_after": {}})[0] == 400
    monkeypatch.setattr(partial_uploads, "MOST_PART_BYTES", 1000)
    status, body = call("POST", f"/uploads/{begun}/parts", files={"data": ("part", b"x" * 1001)})
    assert status == 400 and "larger than 1,000 bytes" in body["error"]["message"]
    add(call, begun, b"x" * 1000)
    add(call, begun, b"x" * 1000)
    # Twice the file's 630 bytes and one part are 2,260.
    assert "larger than 260 bytes" in str(call("POST", f"/uploads/{begun}/parts", files={"data": ("part", b"x" * 261)}))
    add(call, begun, b"x" * 260)
    status, body = call("POST", f"/uploads/{begun}/parts", files={"data": ("part", b"x")})
    assert status == 400 and "twice the size" in body["error"]["message"]
    assert call("POST", f"/uploads/{begun}/parts", files={"other": ("part", b"x")})[0] == 400
    monkeypatch.setattr(partial_uploads, "MOST_PENDING", 1)
    assert "wait for their parts" in call("POST", "/uploads", json=BEGIN)[1]["error"]["message"]


def test_cancelled_expired_and_other_peoples_uploads(call: Any, begun: str, app: FastAPI, tmp_path: Path) -> None:
    keys: Keys = app.state.keys
    other = keys.create("other")
    assert call("POST", f"/uploads/{begun}/parts", key=other, files={"data": ("part", b"x")})[0] == 404
    assert call("POST", f"/uploads/{begun}/cancel", key=other)[0] == 404
    add(call, begun, PARTS[0])
    assert call("POST", f"/uploads/{begun}/cancel")[1]["status"] == "cancelled"
    _, late = call("POST", "/uploads", json=BEGIN)
    add(call, late["id"], PARTS[0])
    long_ago = (datetime.now(UTC) - timedelta(seconds=3601)).isoformat()
    with app.state.store.begin() as db:
        db.execute(update(RecordRow).where(RecordRow.id == late["id"]).values(created_at=long_ago))
    for upload, state in ((begun, "cancelled"), (late["id"], "expired")):
        for what, body in (("parts", {"files": {"data": ("part", b"x")}}), ("complete", {"json": {"part_ids": ["x"]}})):
            status, said = call("POST", f"/uploads/{upload}/{what}", **body)
            assert status == 400 and f"is {state}" in said["error"]["message"], said
    assert list((tmp_path / "data" / "parts").iterdir()) == []
