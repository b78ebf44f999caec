"""Requests of Fireworks' wire by hand: names, owners, refusals, trainer jobs and deployments as rows."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from server.running import RunningServer

from tunesmith.services.keys import Keys
from tunesmith.services.store import file_url, open_store

MODEL = "tunesmith/embedded"
SERVERLESS = "/training/v1/serverless/api/v1"
JOBS = "/v1/accounts/default/rlorTrainerJobs"
DEPLOYMENTS = "/v1/accounts/default/deployments"
HOT_LOAD = "/hot_load/v1/models/hot_load"
LORA = {"rank": 4, "seed": 1}
Ask = Callable[..., httpx2.Response]


def asking(server: RunningServer, key: str) -> Iterator[Ask]:
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=server.base_url, headers=headers, timeout=60) as client:
        yield client.request


@pytest.fixture(scope="module")
def ask(server: RunningServer) -> Iterator[Ask]:
    """With the key as this wire's clients need it."""
    yield from asking(server, "fw_" + server.key.removeprefix("tml-"))


@pytest.fixture(scope="module")
def stranger(server: RunningServer) -> Iterator[Ask]:
    store = open_store(file_url(server.data_dir))
    key = Keys(store).create("some.body@else")
    store.close()
    yield from asking(server, key)


def result(ask: Ask, answer: httpx2.Response, root: str = SERVERLESS) -> Any:
    assert answer.status_code == 200, answer.text
    body = {"request_id": answer.json()["request_id"], "allow_metadata_only": True}
    while (found := ask("POST", f"{root}/retrieve_future", json=body)).status_code == 408:
        assert found.json()["type"] == "try_again"
    return found.json()


def begin(ask: Ask, root: str = SERVERLESS) -> str:
    return str(ask("POST", f"{root}/create_session", json={"sdk_version": "0.23.0"}).json()["session_id"])


def new_model(ask: Ask, session: str, number: int = 0, root: str = SERVERLESS, **more: Any) -> Any:
    body = {"session_id": session, "model_seq_id": number, "base_model": MODEL, "lora_config": LORA} | more
    return result(ask, ask("POST", f"{root}/create_model", json=body), root)


def saved(ask: Ask, model: str, seq: int, name: str, verb: str = "save_weights", root: str = SERVERLESS) -> Any:
    return result(ask, ask("POST", f"{root}/{verb}", json={"model_id": model, "seq_id": seq, "path": name}), root)


@pytest.fixture(scope="module")
def model(ask: Ask) -> str:
    """A model of a session of its own, with sampler weights ``first``."""
    made = new_model(ask, begin(ask))["model_id"]
    saved(ask, made, 1, "first", "save_weights_for_sampler")
    return str(made)


def complete(ask: Ask, **body: Any) -> httpx2.Response:
    return ask("POST", "/inference/v1/completions", json={"model": MODEL, "prompt": [5, 6, 7], "max_tokens": 4} | body)


def test_accounts_are_owners(ask: Ask, stranger: Ask):
    assert ask("GET", "/v1/accounts").json()["accounts"] == [
        {"name": "accounts/default", "displayName": "default", "state": "READY"}
    ]
    assert ask("GET", "/verifyApiKey").headers["x-fireworks-account-id"] == "default"
    # A name that no address can hold has a number instead, the same one each time.
    account = stranger("GET", "/verifyApiKey").headers["x-fireworks-account-id"]
    assert account.startswith("u-") and account == stranger("GET", "/verifyApiKey").headers["x-fireworks-account-id"]
    assert stranger("GET", f"/v1/accounts/{account}").status_code == 200


def test_refusals_speak_to_all_clients(ask: Ask, server: RunningServer):
    refused = ask("GET", "/v1/accounts/fireworks")
    assert refused.status_code == 403
    body = refused.json()
    assert body["detail"] == body["message"] == body["error"]["message"]
    assert (body["code"], body["error"]["code"]) == (7, "PERMISSION_DENIED")
    wrong = httpx2.get(f"{server.base_url}/v1/accounts", headers={"x-api-key": "fw_wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, 16)


def test_a_model_tells_what_it_can_and_is_made_once(ask: Ask):
    session = begin(ask)
    made = new_model(ask, session)
    assert {k: made[k] for k in ("type", "comms", "supports_router_replay")} == {
        "type": "create_model",
        "comms": "v1",
        "supports_router_replay": False,
    }
    assert new_model(ask, session) == made
    assert new_model(ask, session, 1)["model_id"] != made["model_id"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"lora_config": None}, "this API trains adapters"),
        ({"lora_config": {"rank": 0}}, "this API trains adapters"),
        ({"lora_config": LORA | {"alpha": 16}}, "lora_config.alpha: must be 32 (got 16)"),
        ({"lora_config": LORA | {"init_method": "nora"}}, "unknown 'nora'"),
        ({"projection_head_dim": 8}, "projections are not"),
        ({"base_model": "accounts/fireworks/models/none"}, "unknown 'accounts/fireworks/models/none'"),
    ],
)
def test_models_that_cannot_be(ask: Ask, more, words):
    body = {"session_id": begin(ask), "model_seq_id": 0, "base_model": MODEL, "lora_config": LORA} | more
    refused = ask("POST", f"{SERVERLESS}/create_model", json=body)
    assert 400 <= refused.status_code < 500
    assert words in refused.json()["detail"]


def test_an_unloaded_model_is_gone_and_its_checkpoints_are_not(ask: Ask):
    made = new_model(ask, begin(ask))["model_id"]
    path = saved(ask, made, 1, "before-unload")["path"]
    ended = ask("POST", f"{SERVERLESS}/unload_model", json={"model_id": made})
    assert result(ask, ended) == {"model_id": made, "type": "unload_model"}
    assert ask("POST", f"{SERVERLESS}/unload_model", json={"model_id": made}).json() == ended.json()
    refused = saved(ask, made, 2, "after-unload")
    assert refused["category"] == "user" and "no longer in memory" in refused["error"]
    assert ask("POST", f"{SERVERLESS}/weights_info", json={"tinker_path": path}).json()["lora_rank"] == 4


def test_a_name_that_several_runs_have_is_refused_with_their_paths(ask: Ask):
    paths = [saved(ask, new_model(ask, begin(ask))["model_id"], 1, "same")["path"] for _ in range(2)]
    third = new_model(ask, begin(ask))["model_id"]
    body = {"model_id": third, "seq_id": 1, "path": "same", "optimizer": True}
    refused = result(ask, ask("POST", f"{SERVERLESS}/load_weights", json=body))
    assert all(path in refused["error"] for path in paths)
    again = {**body, "seq_id": 2, "path": paths[0]}
    assert result(ask, ask("POST", f"{SERVERLESS}/load_weights", json=again))["path"] == paths[0]


def test_checkpoints_of_a_session_are_listed_until_the_end_and_after_it(ask: Ask, model: str):
    info = ask("POST", f"{SERVERLESS}/get_info", json={"model_id": model}).json()
    assert (info["model_name"], info["lora_rank"]) == (MODEL, 4)
    session = begin(ask)
    own = new_model(ask, session)["model_id"]
    saved(ask, own, 1, "listed", "save_weights_for_sampler")
    parent = f"accounts/default/trainingSessions/{session}"
    [row] = ask("GET", f"/v1/{parent}/checkpoints").json()["trainingSessionCheckpoints"]
    assert row["name"] == f"{parent}/checkpoints/listed"
    assert row["checkpointType"] == "CHECKPOINT_TYPE_INFERENCE_LORA"
    assert row["promotable"]
    for _ in range(2):
        assert ask("DELETE", f"/v1/{parent}").status_code == 200


def test_a_promoted_checkpoint_is_a_whole_model(ask: Ask):
    session = begin(ask)
    own = new_model(ask, session)["model_id"]
    targets = {"data": [6, 7, 8], "dtype": "int64", "shape": [3]}
    datum = {"model_input": {"chunks": [{"tokens": [5, 6, 7]}]}, "loss_fn_inputs": {"target_tokens": targets}}
    data = {"data": [datum], "loss_fn": "cross_entropy"}
    sent = {"model_id": own, "seq_id": 1, "forward_backward_input": data}
    before = result(ask, ask("POST", f"{SERVERLESS}/forward_backward", json=sent))["metrics"]["loss:sum"]
    step = {"model_id": own, "seq_id": 2, "adam_params": {"learning_rate": 1e-2}}
    result(ask, ask("POST", f"{SERVERLESS}/optim_step", json=step))
    saved(ask, own, 3, "promoted", "save_weights_for_sampler")
    checkpoint = f"accounts/default/trainingSessions/{session}/checkpoints/promoted"
    name = "accounts/default/models/mine"
    promoted = ask("POST", f"/v1/{checkpoint}:promote", json={"output_model": name, "base_model": MODEL})
    assert promoted.json()["model"]["name"] == name, promoted.text
    given = {"prompt": [5, 6, 7, 8], "echo": True, "logprobs": True, "temperature": 0, "max_tokens": 1}

    def scores(model: str) -> list[float]:
        [choice] = complete(ask, **given, model=model).json()["choices"]
        return [entry["logprob"] for entry in choice["logprobs"]["content"]]

    assert scores(name) == pytest.approx(scores(checkpoint), abs=1e-4)
    assert -sum(scores(name)[1:4]) < before - 1
    assert ask("GET", f"/v1/{name}").json()["baseModelDetails"]["moe"] is False
    assert new_model(ask, begin(ask), base_model=name)["type"] == "create_model"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"output_model": "accounts/other/models/x"}, "is no id"),
        ({"base_model": "somebody/else"}, f"was trained on {MODEL}"),
        ({"output_model": "accounts/default/models/taken"}, "is the name of a model already"),
    ],
)
def test_promotions_that_cannot_be(ask: Ask, more, words):
    session = begin(ask)
    saved(ask, new_model(ask, session)["model_id"], 1, "fresh", "save_weights_for_sampler")
    path = f"/v1/accounts/default/trainingSessions/{session}/checkpoints/fresh:promote"
    body = {"output_model": "accounts/default/models/taken", "base_model": MODEL}
    ask("POST", path, json=body)
    refused = ask("POST", path, json=body | {"output_model": "accounts/default/models/other"} | more)
    assert refused.status_code == 400
    assert words in refused.json()["message"]


def test_nothing_of_an_owner_is_anothers(ask: Ask, stranger: Ask, model: str):
    run = model.partition(":")[0]
    session = begin(ask)
    assert stranger("POST", f"{SERVERLESS}/get_info", json={"model_id": model}).status_code == 403
    assert stranger("POST", f"{SERVERLESS}/unload_model", json={"model_id": model}).status_code == 403
    assert stranger("DELETE", f"/v1/accounts/default/trainingSessions/{session}").status_code == 403
    theirs = f"accounts/default/trainingSamplers/checkpoints/default/{run}/first"
    assert complete(ask, model=theirs).status_code == 200
    assert complete(stranger, model=theirs).status_code == 403
    account = stranger("GET", "/verifyApiKey").headers["x-fireworks-account-id"]
    stolen = f"accounts/{account}/trainingSamplers/checkpoints/{account}/{run}/first"
    assert complete(stranger, model=stolen).status_code == 404


def test_a_completion_whole_and_as_events(ask: Ask):
    given = {"seed": 3, "logprobs": True, "raw_output": True, "return_token_ids": True, "top_logprobs": 2, "n": 2}
    given |= {"temperature": 5.0, "max_tokens": 8}  # so hot that two candidates hardly ever agree
    whole = complete(ask, **given).json()
    first, second = whole["choices"]
    assert first["raw_output"]["completion_token_ids"] == first["token_ids"] != second["token_ids"]
    assert first["raw_output"]["prompt_token_ids"] == first["prompt_token_ids"] == [5, 6, 7]
    content = first["logprobs"]["content"]
    assert [entry["token_id"] for entry in content] == first["token_ids"]
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)
    assert whole["usage"]["completion_tokens"] == len(first["token_ids"]) + len(second["token_ids"])
    streamed = complete(ask, **given, stream=True, perf_metrics_in_response=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    event, done = (line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line)
    assert done == "[DONE]"
    assert json.loads(event)["choices"] == whole["choices"]
    assert json.loads(event)["perf_metrics"]["prompt-tokens"] == "3"


def test_a_sampler_of_the_session_draws_what_completions_draw(ask: Ask):
    session = begin(ask)
    saved(ask, new_model(ask, session)["model_id"], 1, "drawn", "save_weights_for_sampler")
    body = {"session_id": session, "sampling_session_seq_id": 0, "model_path": "drawn"}
    sampler = ask("POST", f"{SERVERLESS}/create_sampling_session", json=body).json()["sampling_session_id"]
    body = {
        "sampling_session_id": sampler,
        "seq_id": 1,
        "prompt": {"chunks": [{"type": "encoded_text", "tokens": [5, 6, 7]}]},
        "sampling_params": {"max_tokens": 6, "temperature": 1.0, "seed": 9, "stop": []},
        "prompt_logprobs": True,
    }
    drawn = result(ask, ask("POST", f"{SERVERLESS}/asample", json=body))
    [sequence] = drawn["sequences"]
    assert len(sequence["tokens"]) == len(sequence["logprobs"]) == 6
    assert drawn["prompt_logprobs"][0] is None and len(drawn["prompt_logprobs"]) == 3
    model = f"accounts/default/trainingSessions/{session}/checkpoints/drawn"
    given = {"max_tokens": 6, "seed": 9, "return_token_ids": True, "model": model}
    [choice] = complete(ask, **given).json()["choices"]
    # Without stop a completion ends at the model's own stop ids; with an empty list, nowhere.
    assert sequence["tokens"][: len(choice["token_ids"])] == choice["token_ids"]


def test_echo_covers_prompt_and_completion(ask: Ask):
    [choice] = complete(ask, echo=True, logprobs=True, raw_output=True, temperature=0).json()["choices"]
    ids = choice["raw_output"]["completion_token_ids"]
    assert ids[:3] == [5, 6, 7]
    content = choice["logprobs"]["content"]
    assert [entry["token_id"] for entry in content] == ids
    assert content[0]["logprob"] == 0.0
    assert [entry["sampling_logprob"] is None for entry in content] == [True] * 3 + [False] * (len(ids) - 3)


def test_text_is_encoded_by_the_models_own_tokenizer(ask: Ask):
    [choice] = complete(ask, prompt="7+5=", temperature=0, raw_output=True).json()["choices"]
    assert len(choice["raw_output"]["prompt_token_ids"]) == 4
    assert choice["text"].startswith("12")


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"min_p": 0.1}, 400, "min_p: is not among the settings"),
        ({"logit_bias": {"5": 1}}, 400, "logit_bias"),
        ({"stop": ""}, 400, "stop: holds an empty text"),
        ({"prompt": []}, 400, "prompt: is empty"),
        ({"prompt": [10**6]}, 400, "token 1000000 is not in the vocabulary"),
        ({"prompt": [10**12]}, 400, "beyond 32 bits"),
        ({"max_tokens": 10**6}, 400, "context window"),
        ({"top_p": 0}, 400, "top_p"),
        ({"include_routing_matrix": True, "logprobs": True}, 400, "no experts"),
        ({"model": "nobody/none"}, 404, "unknown 'nobody/none'"),
        ({"model": "accounts/default/deployments/none"}, 404, "no such deployment"),
        ({"model": "accounts/default/trainingSessions/ts-none"}, 404, "Invalid session_id"),
        ({"model": "accounts/default/trainingSamplers/checkpoints/none"}, 404, "no such checkpoint"),
        ({"model": "accounts/default/trainingSamplers/checkpoints/a/b"}, 404, "Give <account>/<run>/<name>"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_completions_that_cannot_be(ask: Ask, more, status, words, stream):
    refused = complete(ask, **more, stream=stream)
    assert refused.status_code == status, refused.text
    assert words in refused.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_its_completion(ask: Ask, stream):
    assert complete(ask).status_code == 200  # from here on there is nothing left to load
    with pytest.raises(httpx2.TimeoutException):
        # So many candidates, too hot to stop of themselves, take ten seconds or more.
        body = {"model": MODEL, "prompt": [5], "max_tokens": 4000, "temperature": 50.0, "n": 128, "stream": stream}
        ask("POST", "/inference/v1/completions", json=body, timeout=0.5)
    # Every second somebody looks whether the client is still there; the rest is for a busy machine.
    until = time.monotonic() + 6
    while "tunesmith_samplings 0" not in ask("GET", "/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_settings_that_ask_for_nothing_are_no_obstacle(ask: Ask):
    assert complete(ask, min_p=0, repetition_penalty=1.0, response_format=None, who_knows="what").status_code == 200


def test_the_life_of_a_trainer_job(ask: Ask):
    body = {"serviceMode": True, "trainingConfig": {"baseModel": MODEL, "loraRank": 4, "learningRate": 1e-5}}
    made = ask("POST", f"{JOBS}?rlorTrainerJobId=one", json=body).json()
    assert made["state"] == "JOB_STATE_RUNNING"
    assert made["trainingConfig"] == body["trainingConfig"] | {"maxContextLength": 4096}
    assert ask("POST", f"{JOBS}?rlorTrainerJobId=one", json=body).status_code == 409
    assert ask("POST", f"{JOBS}/one:resume", content=b"").json()["name"] == "accounts/default/rlorTrainerJobs/one"
    root = "/training/v1/rlorTrainerJobs/default/one/api/v1"
    own = new_model(ask, begin(ask, root), root=root)["model_id"]
    assert saved(ask, own, 1, "kept", root=root)["path"] == "kept"
    assert ask("GET", f"{root}/list_checkpoints").json() == {"checkpoints": ["kept"]}
    assert "kept" not in ask("GET", f"{SERVERLESS}/list_checkpoints").json()["checkpoints"]
    assert ask("POST", f"{JOBS}/one:cancel").status_code == 200
    assert "is cancelled. Resume it" in ask("GET", f"{root}/healthz").json()["detail"]
    assert ask("POST", f"{JOBS}/one:resume").json()["state"] == "JOB_STATE_RUNNING"
    assert saved(ask, own, 2, "too", root=root)["path"] == "too", "the model is where it was"
    assert ask("DELETE", f"{JOBS}/one").status_code == 200
    assert ask("GET", f"{JOBS}/one").json()["state"] == "JOB_STATE_DELETED"
    assert "was deleted" in ask("GET", f"{root}/healthz").json()["detail"]
    kept, _ = ask("GET", f"{JOBS}/one/checkpoints").json()["checkpoints"]
    assert kept["name"] == "accounts/default/rlorTrainerJobs/one/checkpoints/kept"
    assert kept["checkpointType"] == "CHECKPOINT_TYPE_TRAINING_LORA"


def test_a_trainer_of_references_needs_no_rank(ask: Ask):
    config = {"trainingConfig": {"baseModel": MODEL, "loraRank": 0}}
    assert ask("POST", JOBS, json=config).status_code == 400
    assert ask("POST", f"{JOBS}?rlorTrainerJobId=reference", json=config | {"forwardOnly": True}).status_code == 200
    root = "/training/v1/rlorTrainerJobs/default/reference/api/v1"
    made = new_model(ask, begin(ask, root), root=root, lora_config={"rank": 0})["model_id"]
    refused = saved(ask, made, 1, "nothing", root=root)
    assert "is a frozen reference" in refused["error"]


def test_the_life_of_a_deployment(ask: Ask):
    ask("POST", f"{JOBS}?rlorTrainerJobId=two", json={"trainingConfig": {"baseModel": MODEL, "loraRank": 4}})
    root = "/training/v1/rlorTrainerJobs/default/two/api/v1"
    saved(ask, new_model(ask, begin(ask, root), root=root)["model_id"], 1, "now", "save_weights_for_sampler", root)
    body = {"baseModel": MODEL, "hotLoadTrainerJob": "accounts/default/rlorTrainerJobs/two", "maxReplicaCount": 1}
    name = "accounts/default/deployments/serving"
    made = ask("POST", f"{DEPLOYMENTS}?deploymentId=serving", json=body).json()
    assert (made["name"], made["state"], made["hotLoadTrainerJob"]) == (name, "READY", body["hotLoadTrainerJob"])
    assert ask("POST", f"{DEPLOYMENTS}?deploymentId=serving", json=body).status_code == 409
    headers = {"fireworks-deployment": name, "fireworks-model": MODEL}
    [replica] = ask("GET", HOT_LOAD, headers=headers).json()["replicas"]
    assert (replica["readiness"], replica["current_snapshot_identity"]) == (True, None)
    assert complete(ask, model=name).status_code == 200
    assert ask("POST", HOT_LOAD, headers=headers, json={"identity": "never-saved"}).status_code == 404
    assert ask("POST", HOT_LOAD, headers=headers, json={"identity": "now"}).status_code == 200
    [replica] = ask("GET", HOT_LOAD, headers=headers).json()["replicas"]
    assert replica["current_snapshot_identity"] == "now"
    assert complete(ask, model=f"{MODEL}#{name}").status_code == 200
    assert ask("PATCH", f"{DEPLOYMENTS}/serving", json={"minReplicaCount": 0, "maxReplicaCount": 0}).status_code == 200
    assert "scaled to zero" in complete(ask, model=name).json()["message"]
    assert ask("DELETE", f"{DEPLOYMENTS}/serving?ignoreChecks=true&hard=true").status_code == 200
    assert ask("GET", f"{DEPLOYMENTS}/serving").status_code == 404


def test_a_restart_loses_no_job_no_deployment_and_no_snapshot(ask: Ask, server: RunningServer):
    ask("POST", f"{JOBS}?rlorTrainerJobId=three", json={"trainingConfig": {"baseModel": MODEL, "loraRank": 4}})
    root = "/training/v1/rlorTrainerJobs/default/three/api/v1"
    session = begin(ask, root)
    own = new_model(ask, session, root=root)["model_id"]
    saved(ask, own, 1, "lasting", "save_weights_for_sampler", root)
    body = {"baseModel": MODEL, "hotLoadTrainerJob": "accounts/default/rlorTrainerJobs/three"}
    ask("POST", f"{DEPLOYMENTS}?deploymentId=lasting", json=body)
    name = "accounts/default/deployments/lasting"
    ask("POST", HOT_LOAD, headers={"fireworks-deployment": name}, json={"identity": "lasting"})
    before = complete(ask, model=name, seed=1, return_token_ids=True).json()["choices"]
    server.stop()
    server.start()
    assert complete(ask, model=name, seed=1, return_token_ids=True).json()["choices"] == before
    # The model was written to disk and is taken up where it was: its next number is 2.
    assert saved(ask, own, 2, "again", root=root)["path"] == "again"
