"""What no route takes is refused in our own shape, with the nearest that does."""

import pytest


@pytest.mark.parametrize(
    ("method", "path", "mend"),
    [
        ("GET", "/job", "Did you mean /api/v1/jobs?"),
        ("GET", "/jobs/job-1/metric", "Did you mean /api/v1/jobs/job-1/metrics?"),
        ("POST", "/datasets/sums/chek", "Did you mean /api/v1/datasets/sums/check?"),
        ("PATCH", "/zzzzzzzzzzzzzzzz", "All are in /openapi.json"),
    ],
)
def test_an_address_that_there_is_not(call, method, path, mend):
    status, body = call(method, path)
    assert (status, body["error"]["kind"], body["error"]["problem"]) == (404, "not_found", "no such address")
    assert body["error"]["where"] == f"/api/v1{path}" and body["error"]["mend"].startswith(mend)
    assert body["error"]["request_id"]


def test_a_method_that_an_address_does_not_take(ask, call, key):
    status, body = call("DELETE", "/jobs")
    assert (status, body["error"]["kind"]) == (405, "method_not_allowed")
    assert body["error"]["mend"] == "It takes GET and POST"
    assert ask("DELETE", "/api/v1/jobs", headers={"x-api-key": key}).headers["allow"] == "GET, POST"


def test_it_is_no_way_to_learn_addresses_without_a_key(ask):
    assert ask("GET", "/api/v1/job").status_code == 401
