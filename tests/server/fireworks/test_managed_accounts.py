"""Secrets, users with their keys, and evaluation jobs of the managed wire."""

import logging

from server.fireworks.conftest import Call

VALUE = "sk-very-secret-value"


def test_secrets_are_taken_and_never_given_back(call: Call, caplog):
    caplog.set_level(logging.DEBUG)
    answers = [
        call("GET", "/secrets/my-key"),
        call("POST", "/secrets", json={"keyName": "MY_KEY", "name": "my-key", "value": VALUE}),
        call("POST", "/secrets", json={"keyName": "MY_KEY", "name": "my-key", "value": VALUE}),
        call("GET", "/secrets/my-key"),
        call("PATCH", "/secrets/my-key", json={"keyName": "MY_KEY", "value": VALUE + "2"}),
        call("GET", "/secrets", params={"filter": "value:secret"}),
        call("POST", "/secrets", json={"keyName": "BAD NAME", "value": VALUE}),
        call("POST", "/secrets", json={"keyName": "OTHER", "name": "my-key", "value": VALUE}),
        call("POST", "/secrets", json={"keyName": "OTHER", "value": [VALUE]}),
        call("PATCH", "/secrets/my-key", json={"keyName": "OTHER", "value": VALUE}),
        call("DELETE", "/secrets/my-key"),
        call("GET", "/secrets/my-key"),
    ]
    assert [a.status_code for a in answers] == [404, 200, 409, 200, 200, 200, 400, 409, 400, 400, 200, 404]
    assert answers[3].json()["keyName"] == "MY_KEY" and "value" not in answers[3].json()
    assert VALUE not in "".join(a.text for a in answers) + caplog.text


def test_a_changed_secret_has_its_new_value(call: Call, app):
    call("POST", "/secrets", json={"keyName": "MY_KEY", "value": VALUE})
    call("PATCH", "/secrets/my-key", json={"value": "new"})
    assert app.state.secrets.get("somebody", "MY_KEY") == "new"
    assert call("GET", "/secrets").json()["secrets"][0]["name"] == "accounts/somebody/secrets/my-key"


def test_users_come_and_go(call: Call):
    assert [u["name"] for u in call("GET", "/users").json()["users"]] == ["accounts/somebody/users/somebody"]
    made = call("POST", "/users", params={"userId": "ann"}, json={"role": "user", "email": "ann@example.org"})
    assert made.json()["role"] == "user" and made.json()["state"] == "READY"
    assert call("PATCH", "/users/ann", json={"role": "admin"}).json()["email"] == "ann@example.org"
    assert call("GET", "/users/ann").json()["role"] == "admin"
    assert call("POST", "/users", params={"userId": "ann"}, json={"role": "user"}).status_code == 409
    assert call("DELETE", "/users/ann").json() == {}
    assert call("GET", "/users/ann").status_code == 404


def test_a_users_key_opens_the_account_until_it_is_deleted(call: Call, ask):
    call("POST", "/users", params={"userId": "ann"}, json={"role": "user"})
    made = call("POST", "/users/ann/apiKeys", json={"apiKey": {"displayName": "laptop"}}).json()
    headers = {"authorization": f"Bearer {made['key']}"}
    assert ask("GET", "/v1/accounts/somebody/users", headers=headers).status_code == 200
    (listed,) = call("GET", "/users/ann/apiKeys").json()["apiKeys"]
    assert (listed["keyId"], listed["displayName"]) == (made["keyId"], "laptop") and "key" not in listed
    assert call("POST", "/users/somebody/apiKeys:delete", json={"keyId": made["keyId"]}).status_code == 404
    assert call("POST", "/users/ann/apiKeys:delete", json={"keyId": made["keyId"]}).json() == {}
    assert ask("GET", "/v1/accounts/somebody/users", headers=headers).status_code == 401


def test_a_deleted_users_keys_are_refused(call: Call, ask):
    call("POST", "/users", params={"userId": "ann"}, json={"role": "user"})
    key = call("POST", "/users/ann/apiKeys", json={}).json()["key"]
    call("DELETE", "/users/ann")
    assert ask("GET", "/v1/accounts/somebody/users", headers={"x-api-key": key}).status_code == 401


def test_keys_of_other_owners_cannot_be_deleted(call: Call, app):
    other = app.state.keys.find(app.state.keys.create("another"))
    assert call("POST", "/users/somebody/apiKeys:delete", json={"keyId": other.id}).status_code == 404
    assert app.state.keys.list()[-1].revoked_at is None


def test_evaluation_jobs_are_kept_as_they_were_sent(call: Call):
    dummy = {"evaluator": "accounts/somebody/evaluators/dummy", "inputDataset": "accounts/somebody/datasets/dummy"}
    made = call("POST", "/evaluationJobs", json={"evaluationJobId": "e1", "evaluationJob": dummy})
    assert made.status_code == 200, made.text
    found = call("GET", "/evaluationJobs/e1").json()
    assert (found["state"], found["evaluator"]) == ("JOB_STATE_COMPLETED", dummy["evaluator"])
    assert "a client ran this evaluation" in found["status"]["message"]
    assert call("GET", "/evaluationJobs").json()["totalSize"] == 1
    assert call("GET", "/evaluationJobs/e1:getExecutionLogEndpoint").status_code == 404
    assert call("DELETE", "/evaluationJobs/e1").json() == {}
    assert call("GET", "/evaluationJobs/e1").status_code == 404
