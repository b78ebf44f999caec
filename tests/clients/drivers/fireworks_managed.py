"""Fireworks' own SDK with another base URL: every method of its control plane and of inference, in one story.

A method that the story never calls counts as not exercised, so a newer SDK with more of them shows up as missing.
"""

import inspect
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import httpx
from fire_rows import attempts, lines, reward
from fireworks import Fireworks

ROOT, KEY = os.environ["TINKER_BASE_URL"], os.environ["TINKER_API_KEY"]
LIMIT_S = 240
STEPS = 2
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "EARLY_STOPPED")
RESOURCES = (
    "accounts",
    "api_keys",
    "batch_inference_jobs",
    "chat.completions",
    "completions",
    "datasets",
    "deployment_shape_versions",
    "deployment_shapes",
    "deployments",
    "dpo_jobs",
    "evaluation_jobs",
    "evaluators",
    "lora",
    "messages",
    "models",
    "reinforcement_fine_tuning_jobs",
    "reinforcement_fine_tuning_steps",
    "secrets",
    "supervised_fine_tuning_jobs",
    "users",
)
PUBLIC = "accounts/tunesmith/models/embedded"


class Story:
    """What each method did; the last call of one decides."""

    def __init__(self) -> None:
        account = httpx.get(f"{ROOT}/verifyApiKey", headers={"authorization": f"Bearer {KEY}"})
        self.account = account.headers["x-fireworks-account-id"]
        self.client = Fireworks(api_key=KEY, account_id=self.account, base_url=ROOT, max_retries=0)
        self.rows: dict[str, str] = {}

    def do(self, method: str, check: Callable[[Any], Any] = lambda result: True, **given: Any) -> Any:
        """Call a method and note whether its answer is as it should be; the answer, or None."""
        target: Any = self.client
        for part in method.split("."):
            target = getattr(target, part)
        try:
            result = target(**given)
            self.rows[method] = "" if check(result) else f"another result: {result!r:.300}"
        except Exception as e:  # whatever a method throws is the entry of its row
            self.rows[method] = f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"
            return None
        return result

    def name(self, collection: str, resource: str) -> str:
        return f"accounts/{self.account}/{collection}/{resource}"


def main(model: str) -> dict[str, Any]:
    del model
    story = Story()
    accounts(story)
    datasets(story)
    evaluators(story)
    found = {"sft": sft(story), "dpo": dpo(story), "rft": rft(story), "halted": halted(story)}
    found["evaluation"] = evaluation(story)
    found["answers"] = serving(story)
    for job, collection in (("sft", "supervised"), ("rft", "reinforcement")):
        given = {f"{collection}_fine_tuning_job_id": job}
        story.do(f"{collection}_fine_tuning_jobs.delete", **given)
    story.do("dpo_jobs.delete", dpo_job_id="dpo")
    found["loop"] = trainers(story)
    methods = [f"{resource}.{method}" for resource in RESOURCES for method in public(story.client, resource)]
    return found | {"methods": {name: story.rows.get(name, "not exercised") for name in methods}}


def public(client: Any, resource: str) -> list[str]:
    for part in resource.split("."):
        client = getattr(client, part)
    members = inspect.getmembers(type(client), inspect.isfunction)
    return [name for name, _ in members if not name.startswith("_")]


def accounts(story: Story) -> None:
    story.do("accounts.list", lambda page: [a.name for a in page] == [f"accounts/{story.account}"])
    story.do("accounts.get", lambda a: a.name == f"accounts/{story.account}", account_id=story.account)
    story.do("secrets.create", lambda s: s.key_name == "MY_KEY", key_name="MY_KEY", name="my-key", value="v-1")
    story.do("secrets.get", lambda s: s.key_name == "MY_KEY" and s.value is None, secret_id="my-key")
    story.do("secrets.update", lambda s: s.value is None, secret_id="my-key", key_name="MY_KEY", value="v-2")
    story.do("secrets.list", lambda page: [s.key_name for s in page] == ["MY_KEY"])
    story.do("secrets.delete", secret_id="my-key")
    story.do("users.create", lambda u: u.role == "user", role="user", user_id="ann", email="ann@example.org")
    story.do("users.update", lambda u: u.role == "admin", user_id="ann", role="admin")
    story.do("users.get", lambda u: u.email == "ann@example.org", user_id="ann")
    story.do("users.list", lambda page: len(list(page)) == 2, page_size=1)
    made = story.do("api_keys.create", lambda k: k.key, user_id="ann", api_key={"display_name": "laptop"})
    story.do("api_keys.list", lambda page: [k.key_id for k in page] == [made.key_id], user_id="ann")
    story.do("api_keys.delete", user_id="ann", key_id=made.key_id)


def put(urls: dict[str, str], files: dict[str, bytes]) -> None:
    """As the SDK's users do: no key, the bytes as they are."""
    for name, data in files.items():
        size = {"X-Goog-Content-Length-Range": f"{len(data)},{len(data)}"}
        headers = {"Content-Type": "application/octet-stream", **size}
        httpx.put(urls[name], content=data, headers=headers, timeout=60).raise_for_status()


def fetched(urls: dict[str, str]) -> dict[str, bytes]:
    return {name: httpx.get(url, timeout=60).raise_for_status().content for name, url in urls.items()}


def datasets(story: Story) -> None:
    for kind in ("sft", "dpo", "extra"):
        said = {"display_name": kind, "example_count": "16", "user_uploaded": {}, "format": "CHAT"}
        story.do("datasets.create", lambda d: d.state == "UPLOADING", dataset_id=kind, dataset=said)
        file = (f"{kind}.jsonl", io.BytesIO(lines("sft" if kind == "extra" else kind)))
        story.do("datasets.upload", lambda r: r.filename.endswith(".jsonl"), dataset_id=kind, file=file)
    story.do("datasets.create", dataset_id="rft", dataset={"example_count": "16"})
    data = {"rows.jsonl": lines("rft")}
    sizes = {name: str(len(content)) for name, content in data.items()}
    there = story.do("datasets.get_upload_endpoint", dataset_id="rft", filename_to_size=sizes)
    put(there.filename_to_signed_urls, data)
    story.do("datasets.validate_upload", dataset_id="rft", body={})
    story.do("datasets.get", lambda d: (d.state, d.example_count) == ("READY", "16"), dataset_id="rft")
    story.do("datasets.list", lambda page: len(list(page)) == 4, filter='state="READY"', page_size=3)
    story.do("datasets.update", lambda d: d.display_name == "E", dataset_id="extra", display_name="E")
    story.do(
        "datasets.get_download_endpoint",
        lambda there: list(fetched(there.filename_to_signed_urls).values()) == [lines("rft")],
        dataset_id="rft",
    )
    story.do("datasets.delete", dataset_id="extra")


def evaluators(story: Story) -> None:
    code = {"grade.py": b"def grade(completion, row):\n    return 1.0\n"}
    about = {"display_name": "G", "entry_point": "grade.py::grade", "description": "d"}
    story.do("evaluators.create", lambda e: e.name.endswith("/grade"), evaluator_id="grade", evaluator=about)
    sizes = {name: str(len(content)) for name, content in code.items()}
    there = story.do("evaluators.get_upload_endpoint", evaluator_id="grade", filename_to_size=sizes)
    put(there.filename_to_signed_urls, code)
    story.do("evaluators.validate_upload", evaluator_id="grade", body={})
    deadline = time.monotonic() + LIMIT_S
    while story.client.evaluators.get(evaluator_id="grade").state == "BUILDING" and time.monotonic() < deadline:
        time.sleep(0.3)
    story.do("evaluators.get", lambda e: e.state == "ACTIVE", evaluator_id="grade")
    story.do("evaluators.list", lambda page: len(list(page)) == 1)
    story.do("evaluators.update", lambda e: e.display_name == "H", evaluator_id="grade", display_name="H")
    story.do("evaluators.get_build_log_endpoint", lambda there: there.build_log_signed_uri, evaluator_id="grade")
    story.do("evaluators.get_source_code_endpoint", lambda t: t.filename_to_signed_urls, evaluator_id="grade")
    story.do("evaluators.delete", evaluator_id="grade")
    dummy = {name: story.name(name, "dummy") for name in ("evaluators", "datasets")}
    job = {"evaluator": dummy["evaluators"], "input_dataset": dummy["datasets"], "output_dataset": dummy["datasets"]}
    story.do("evaluation_jobs.create", lambda j: j.name, evaluation_job=job, evaluation_job_id="e1")
    story.do("evaluation_jobs.get", lambda j: j.state == "JOB_STATE_COMPLETED", evaluation_job_id="e1")
    story.do("evaluation_jobs.list", lambda page: len(list(page)) == 1)
    story.do("evaluation_jobs.delete", evaluation_job_id="e1")


def evaluation(story: Story) -> dict[str, Any]:
    """A model's score on a dataset, from the job to the rows of its results."""
    job = {
        "evaluator": "accounts/tunesmith/evaluators/last-number",
        "input_dataset": story.name("datasets", "rft"),
        "output_dataset": story.name("datasets", "scores"),
        "model": story.name("models", "sft-out"),
        "inferenceParameters": {"maxOutputTokens": 16},
    }
    which = {"evaluation_job_id": "e2"}
    story.do("evaluation_jobs.create", lambda j: j.output_dataset, evaluation_job=job, **which)
    done = wait(lambda: story.client.evaluation_jobs.get(**which))
    story.do("evaluation_jobs.get", lambda j: j.state == "JOB_STATE_COMPLETED", **which)
    story.do("evaluation_jobs.list", lambda page: len(list(page)) == 1)
    signed = "execution_log_signed_uri"
    story.do("evaluation_jobs.get_log_endpoint", lambda there: httpx.get(getattr(there, signed)).text, **which)
    there = story.client.datasets.get_download_endpoint(dataset_id="scores")
    rows = [json.loads(line) for data in fetched(there.filename_to_signed_urls).values() for line in data.splitlines()]
    story.do("evaluation_jobs.delete", **which)
    story.client.datasets.delete(dataset_id="scores")
    return {"status": done.status.message, "metrics": done.metrics, "rows": rows}


def wait(get: Callable[[], Any], ends: tuple[str, ...] = ENDED) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (job := get()).state.endswith(ends) and time.monotonic() < deadline:
        time.sleep(0.5)
    return job


def ended(story: Story, method: str, model: str, **which: str) -> dict[str, Any]:
    """A job's last state, and what the model that it made answers."""
    job = wait(lambda: getattr(story.client, method).get(**which))
    story.do(f"{method}.get", lambda j: j.state == "JOB_STATE_COMPLETED", **which)
    story.do(f"{method}.list", lambda page: job.name in [j.name for j in page], filter=f'name="{job.name}"')
    shown = job.model_dump(mode="json", by_alias=True, exclude_none=True)
    shown["log"] = bool(job.trainer_logs_signed_url and httpx.get(job.trainer_logs_signed_url).text)
    return shown | {"answer": chat(story, model) if job.state == "JOB_STATE_COMPLETED" else None}


def sft(story: Story) -> dict[str, Any]:
    story.do(
        "supervised_fine_tuning_jobs.create",
        lambda job: job.state in ("JOB_STATE_VALIDATING", "JOB_STATE_PENDING"),
        supervised_fine_tuning_job_id="sft",
        dataset=story.name("datasets", "sft"),
        base_model=PUBLIC,
        output_model=story.name("models", "sft-out"),
        epochs=10,
        learning_rate=5e-4,
        lora_rank=8,
        batch_size_samples=2,
        eval_auto_carveout=False,
        early_stop=False,
        wandb_config={"enabled": False},
    )
    model = story.name("models", "sft-out")
    return ended(story, "supervised_fine_tuning_jobs", model, supervised_fine_tuning_job_id="sft")


def dpo(story: Story) -> dict[str, Any]:
    story.do(
        "dpo_jobs.create",
        dpo_job_id="dpo",
        dataset=story.name("datasets", "dpo"),
        training_config={
            "warm_start_from": story.name("models", "sft-out"),
            "batch_size_samples": 8,
            "output_model": "dpo-out",
        },
        loss_config={"method": "DPO", "dpo": {"beta": 0.2}},
    )
    found = ended(story, "dpo_jobs", story.name("models", "dpo-out"), dpo_job_id="dpo")
    there = story.do("dpo_jobs.get_metrics_file_endpoint", lambda t: t.signed_url, dpo_job_id="dpo")
    found["steps"] = [json.loads(line)["step"] for line in httpx.get(there.signed_url).text.splitlines()]
    return found


def rft(story: Story) -> dict[str, Any]:
    story.do(
        "reinforcement_fine_tuning_jobs.create",
        reinforcement_fine_tuning_job_id="rft",
        dataset=story.name("datasets", "rft"),
        evaluator="accounts/tunesmith/evaluators/last-number",
        training_config={"base_model": PUBLIC, "output_model": "rft-out", "epochs": 2},
        loss_config={"method": "GRPO", "kl_beta": 0.01},
        inference_parameters={"max_output_tokens": 16, "response_candidates_count": 4, "temperature": 1.0, "top_k": 0},
        chunk_size=8,
        eval_auto_carveout=False,
    )
    model = story.name("models", "rft-out")
    return ended(story, "reinforcement_fine_tuning_jobs", model, reinforcement_fine_tuning_job_id="rft")


def halted(story: Story) -> list[str]:
    """States of long jobs of each kind that are cancelled at once, taken up again, and cancelled again."""
    found = []
    training = {"base_model": PUBLIC, "epochs": 10}
    kinds = {
        "supervised_fine_tuning_jobs": {"dataset": "sft", **training},
        "dpo_jobs": {"dataset": "dpo", "training_config": training},
        "reinforcement_fine_tuning_jobs": {
            "dataset": "rft",
            "training_config": training,
            "evaluator": "accounts/tunesmith/evaluators/last-number",
        },
    }
    for method, body in kinds.items():
        jobs, which = getattr(story.client, method), method.removesuffix("s") + "_id"
        jobs.create(**body, **{which: "long"})
        story.do(f"{method}.cancel", **{which: "long"}, body={})
        cancelled = wait(lambda jobs=jobs, which=which: jobs.get(**{which: "long"}))
        story.do(f"{method}.resume", lambda job: job.state, **{which: "long"}, body={})
        jobs.cancel(**{which: "long"}, body={})
        again = wait(lambda jobs=jobs, which=which: jobs.get(**{which: "long"}))
        found += [cancelled.state, again.state]
        jobs.delete(**{which: "long"})
    return found


def trainers(story: Story) -> dict[str, Any]:
    """A loop of the user's own: attempts are made and scored here, and each step learns from the last model's."""
    which, steps = {"rlor_trainer_job_id": "t"}, "reinforcement_fine_tuning_steps"
    training = {"base_model": PUBLIC, "lora_rank": 8, "learning_rate": 5e-4}
    story.do(
        f"{steps}.create", lambda job: job.state == "JOB_STATE_IDLE", **which, keep_alive=True, training_config=training
    )
    story.do(f"{steps}.list", lambda page: len(list(page)) == 1)
    model = PUBLIC
    for number in range(1, STEPS + 1):
        rows = attempts(story.client, model)
        dataset, model = f"attempts-{number}", story.name("models", f"looped-{number}")
        story.client.datasets.create(dataset_id=dataset, dataset={"example_count": str(len(rows))})
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        story.client.datasets.upload(dataset_id=dataset, file=(f"{dataset}.jsonl", io.BytesIO(data)))
        story.do(f"{steps}.execute", **which, dataset=story.name("datasets", dataset), output_model=model)
        done = wait(lambda: getattr(story.client, steps).get(**which), ("IDLE", *ENDED))
        story.do(f"{steps}.get", lambda job: job.state == "JOB_STATE_IDLE", **which)
    story.do(f"{steps}.cancel", **which, body={})
    story.do(f"{steps}.get", lambda job: job.state == "JOB_STATE_CANCELLED", **which)
    story.do(f"{steps}.resume", lambda job: job.state == "JOB_STATE_IDLE", **which, body={})
    story.do(f"{steps}.delete", **which)
    shown = done.model_dump(mode="json", by_alias=True, exclude_none=True)
    return shown | {"answer": chat(story, model), "reward": reward(rows)}


def chat(story: Story, model: str) -> str | None:
    """The same asked in both formats."""
    asked = {"model": model, "messages": [{"role": "user", "content": "What is 14 + 17?"}]}
    asked |= {"max_tokens": 8, "temperature": 0}
    answer = story.do("chat.completions.create", lambda a: a.choices[0].message.content is not None, **asked)
    said = None if answer is None else str(answer.choices[0].message.content)
    story.do("messages.create", lambda message: "".join(block.text for block in message.content) == said, **asked)
    return said


def serving(story: Story) -> dict[str, Any]:
    """Answers of one adapter under all the names that it has, a copy of it that was uploaded, and the base model."""
    tuned = story.name("models", "sft-out")
    story.do("models.list", lambda page: {m.name for m in page} > {tuned}, page_size=2)
    story.do("models.get", lambda m: m.kind == "HF_PEFT_ADDON" and m.state == "READY", model_id="sft-out")
    story.do("models.update", lambda m: m.display_name == "E", model_id="sft-out", display_name="E")
    story.do("models.prepare", model_id="sft-out", precision="BF16")
    links = story.do("models.get_download_endpoint", lambda t: t.filename_to_signed_urls, model_id="sft-out")
    files = fetched(links.filename_to_signed_urls)
    addon = {"kind": "HF_PEFT_ADDON", "peft_details": {"base_model": PUBLIC, "r": 8, "target_modules": []}}
    story.do("models.create", lambda m: m.state == "UPLOADING", model_id="copy", model=addon)
    sizes = {name: str(len(data)) for name, data in files.items()}
    there = story.do("models.get_upload_endpoint", model_id="copy", filename_to_size=sizes)
    put(there.filename_to_signed_urls, files)
    story.do("models.validate_upload", lambda r: r.warnings == [], model_id="copy")
    story.do("deployments.create", lambda d: d.state == "READY", base_model=PUBLIC, deployment_id="d")
    loaded = story.do(
        "lora.load", lambda m: m.state == "DEPLOYED", model=tuned, deployment=story.name("deployments", "d")
    )
    which = {"deployed_model_id": loaded.name.rpartition("/")[2]}
    deployed = story.name("deployments", "d")
    found = {
        "base": chat(story, PUBLIC),
        "deployment": chat(story, deployed),
        "tuned": chat(story, tuned),
        "prefixed": chat(story, f"fireworks_ai/{tuned}"),
        "both": chat(story, f"{tuned}#{deployed}"),
        "copy": chat(story, story.name("models", "copy")),
    }
    story.do("lora.update", lambda m: m.default, default=True, **which)
    story.do("lora.get", lambda m: m.model == tuned, **which)
    story.do("lora.list", lambda page: len(list(page)) == 1)
    found["default"] = chat(story, deployed)
    story.do("lora.unload", **which)
    story.do(
        "deployments.update", lambda d: d.display_name == "E", deployment_id="d", base_model=PUBLIC, display_name="E"
    )
    story.do("deployments.scale", deployment_id="d", replica_count=2)
    story.do("deployments.list", lambda page: len(list(page)) == 1)
    story.do("deployments.delete", deployment_id="d")
    story.do("deployments.undelete", lambda d: d.state == "READY", deployment_id="d", body={})
    story.do("deployments.get", lambda d: (d.state, d.replica_count) == ("READY", 2), deployment_id="d")
    story.do("models.delete", model_id="copy")
    given = {"model": PUBLIC, "prompt": "7+5=", "max_tokens": 4, "temperature": 0}
    story.do("completions.create", lambda c: c.choices[0].text is not None, **given)
    events = story.client.completions.create(**given, stream=True)
    found["streamed"] = "".join(event.choices[0].text for event in events if event.choices)
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    print(json.dumps(main(**settings), default=str), flush=True)
