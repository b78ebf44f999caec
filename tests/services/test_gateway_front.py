"""The way out of a job: where a project's remote server may be, and what is told of rollouts that are not in hand."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from security.test_addresses import INNER, WRONG

from tunesmith.core.addresses import LOOPBACK, Network
from tunesmith.core.errors import UserError
from tunesmith.services.gateway.front import Front, Records
from tunesmith.services.outside import Reach, Server

ROLLOUT = "job-ab-cd"


def front(remote: str, allowed: tuple[Network, ...] = ()) -> Front:
    reach = Reach("job-ab", Path(), "https://tune.example.org/", allowed, b"secret")
    records = Records()
    return Front(reach, remote, lambda rollout: records if rollout == ROLLOUT else None)


def begun(remote: str, allowed: tuple[Network, ...] = (), rollout: str = ROLLOUT) -> tuple[int, Any]:
    """What /init is answered."""
    body = {"metadata": {"rollout_id": rollout}, "model_base_url": f"http://localhost/rollout_id/{rollout}/row_id/w"}
    answer = asyncio.run(front(remote, allowed).answer("POST", "/remote/init", json.dumps(body).encode()))
    assert answer is not None
    return answer


@pytest.mark.parametrize("url", [*INNER, *WRONG])
def test_no_address_inside_is_connected_to(url: str) -> None:
    with pytest.raises(UserError, match="remote_base_url"):
        asyncio.run(front(url).check())
    status, said = begun(url)
    assert status == 403 and "remote_base_url" in said["detail"]


def test_an_allowed_one_is_told_where_the_policy_is_and_a_key_for_this_rollout() -> None:
    heard: list[bytes] = []

    async def listen() -> tuple[int, Any]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            heard.extend((head, await reader.readexactly(length)))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            place = f"/rollout_id/{ROLLOUT}/row_id/w"
            body = {"metadata": {"rollout_id": ROLLOUT}, "model_base_url": f"http://localhost{place}", "api_key": "k"}
            asked = front(f"http://127.0.0.1:{port}/base/", LOOPBACK)
            found = await asked.answer("POST", "/remote/init", json.dumps(body).encode())
            assert found is not None
            return found

    assert asyncio.run(listen())[0] == 204
    head, body = heard
    told = json.loads(body)
    assert head.startswith(b"POST /base/init HTTP/1.1")
    assert told["model_base_url"] == f"https://tune.example.org/rollout_id/{ROLLOUT}/row_id/w"
    assert told["api_key"].startswith(f"fw_rollout-{ROLLOUT}-") and "secret" not in told["api_key"]


def test_rollouts_that_are_not_in_hand_are_told_so() -> None:
    assert begun("http://8.8.8.8", rollout="job-ab-ef")[0] == 404
    asked = front("http://8.8.8.8")
    for path in ("/v1/status?rollout_id=job-x-y", "/logs?tags=rollout_id:job-x-y", "/traces?tags=a"):
        answer = asyncio.run(asked.answer("GET", path, b""))
        assert answer is not None and answer[0] == 404
    assert asyncio.run(asked.answer("GET", "/elsewhere", b"")) is None


def test_a_status_is_waited_for_and_comes_at_once() -> None:
    async def end() -> Any:
        asked = front("http://8.8.8.8")
        waiting = asyncio.create_task(asked.answer("GET", f"/v1/status?rollout_id={ROLLOUT}", b""))
        line = {"tags": [f"rollout_id:{ROLLOUT}"], "status": {"code": 100}}
        await asyncio.sleep(0)
        await asked.answer("POST", "/logs", json.dumps(line).encode())
        return await waiting

    assert asyncio.run(end()) == (200, {"rollout_id": ROLLOUT, "status": {"code": 100}, "extras": {}})


def test_what_a_server_tells_its_workers_comes_through_a_line() -> None:
    told = Server("https://a", ("192.168.0.0/16",), True)
    assert Server.of_line(told.as_line()) == told and "\n" not in told.as_line()
