"""Datasets, models, deployments, keys, secrets and evaluators: what is shown, what a form does, whose it is."""

import re
import sqlite3

import pytest
from server.web.conftest import new_job

from tunesmith.server.web.uploads import id_of_file
from tunesmith.server.web.visitor import COOKIE, Visitor
from tunesmith.services.store import FILE_NAME


@pytest.fixture
def upload(ask, session):
    """``upload("/datasets", "rows.jsonl", b"...", name="rows")``: a form with a file."""

    def send(path, filename, content, csrf=None, **fields):
        token = Visitor("ann", session).csrf if csrf is None else csrf
        return ask(
            "POST",
            "/dashboard" + path,
            headers={"cookie": f"{COOKIE}={session}", "host": "localhost"},
            data={"csrf": token, **fields},
            files={"file": (filename, content)},
        )

    return send


def test_a_dataset_is_uploaded_checked_shown_and_deleted(app, get, post, upload):
    lines = b'{"messages": [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]}\n' * 3
    answer = upload("/datasets", "My rows.jsonl", lines, kind="sft")
    assert answer.headers["location"] == "/dashboard/datasets/my-rows"
    page = get("/datasets/my-rows").text
    assert "All 3 rows are good for SFT" in page
    assert re.search(r'<span class="trained">2', page)
    wrong = get("/datasets/my-rows?kind=dpo").text
    assert "Missing required field" in wrong and "As the model reads it" not in wrong
    assert str(app.state.settings.data_dir) not in wrong
    assert get("/datasets/my-rows/content").content == lines
    post("/datasets/my-rows/delete")
    assert app.state.datasets.page("ann")[1] == 0


def test_a_form_with_a_file_needs_the_token_too(app, upload):
    assert upload("/datasets", "rows.jsonl", b"{}\n", csrf="0" * 64).status_code == 403
    assert app.state.datasets.page("ann")[1] == 0


def test_a_bad_file_is_shown_by_line_and_a_bad_name_leaves_nothing(app, get, upload):
    upload("/datasets", "rows.jsonl", b'{"messages": []}\nno\n', kind="sft")
    assert "rows.jsonl:2" in get("/datasets/rows").text
    assert upload("/datasets", "rows.jsonl", b"{}\n", name="Not A Name").status_code == 400
    assert app.state.datasets.page("ann")[1] == 1


@pytest.mark.parametrize(
    ("filename", "name"), [("My rows.v2.jsonl", "my-rows"), ("C:\\data\\Sums.jsonl", "sums"), ("7.jsonl", "data-7")]
)
def test_names_of_files(filename, name):
    assert id_of_file(filename) == name


def test_keys_are_ones_own_and_shown_once(app, get, post):
    app.state.keys.create("bob", "of bob")
    made = re.search(r"tml-[\w-]{43}", post("/keys", name="laptop").text)
    assert made and app.state.keys.owner_of(made[0]) == "ann"
    page = get("/keys").text
    assert "laptop" in page and "of bob" not in page and made[0] not in page
    theirs = next(key for key in app.state.keys.list() if key.owner == "bob")
    assert post(f"/keys/{theirs.id}/revoke").status_code == 404
    own = app.state.keys.find(made[0])
    post(f"/keys/{own.id}/revoke")
    assert app.state.keys.owner_of(made[0]) is None


def test_secrets_are_kept_and_never_shown(app, get, post):
    post("/secrets", name="JUDGE_KEY", value="hidden words")
    assert app.state.secrets.get("ann", "JUDGE_KEY") == "hidden words"
    page = get("/secrets").text
    assert "JUDGE_KEY" in page and "hidden words" not in page
    post("/secrets/JUDGE_KEY/delete")
    assert list(app.state.secrets.names("ann")) == []


def test_deployments(app, get, post):
    assert post("/deployments", name="bot", model="tunesmith/embedded").status_code == 303
    assert "bot" in get("/deployments").text
    assert '<option value="accounts/ann/deployments/bot">bot</option>' in get("/chat").text
    assert get("/deployments/bot").headers["location"] == "/dashboard/chat?model=accounts%2Fann%2Fdeployments%2Fbot"
    assert post("/deployments", name="bot", model="tunesmith/embedded").status_code == 400
    post("/deployments/bot/delete")
    assert app.state.deployments.page("ann")[1] == 0


def test_an_evaluator_is_uploaded_and_its_build_shown(app, get, upload):
    code = b"def grade(completion, row):\n    return 1.0\n"
    answer = upload("/evaluators", "mine.py", code)
    assert answer.headers["location"] == "/dashboard/evaluators/mine"
    app.state.evaluators.build("ann", "mine")
    page = get("/evaluators/mine").text
    assert "Build log" in page and "mine.py::grade" in page
    assert get("/evaluators/mine/source").content == code


def test_a_chat_needs_the_token_and_a_model_of_ones_own(ask, session):
    headers = {"cookie": f"{COOKIE}={session}", "host": "localhost"}
    body = {"model": "no-such-model", "messages": [{"role": "user", "content": "hi"}]}
    assert ask("POST", "/dashboard/chat", headers=headers, json=body).status_code == 403


def test_a_dataset_for_any_job_is_taken_along(get, upload):
    upload("/datasets", "rows.jsonl", b'{"messages": [{"role": "user", "content": "1"}]}\n')
    assert 'href="/dashboard/create?dataset=rows"' in get("/datasets/rows").text
    assert 'name="dataset" value="rows"' in get("/create?dataset=rows").text


def test_comparing_takes_two_jobs(app, get):
    assert "It takes two jobs" in get("/compare").text
    new_job(app, "ann", "one"), new_job(app, "ann", "two")
    assert "Tick two" in get("/compare").text


def test_comparing_jobs_says_what_differs(app, get):
    first, second = new_job(app, "ann", "one"), new_job(app, "ann", "two", epochs=2)
    other = new_job(app, "bob", "three")
    page = get(f"/compare?job={first.id}&job={second.id}").text
    assert "Only epochs differs" in page
    assert get(f"/compare?job={first.id}&job={other.id}").status_code == 404
    assert f'value="{first.id}" checked' in get(f"/compare?job={first.id}").text


def test_results_stand_side_by_side_in_words_and_name_no_folder_of_the_server(app, get):
    made = [new_job(app, "ann", name) for name in ("one", "two")]
    jobs = app.state.jobs
    for job, after in zip(made, (0.75, 0.25), strict=True):
        run = jobs.run("ann", job.id).create(jobs.spec("ann", job.id).model_dump(), "rft")
        for step, reward in ((0, 0.5), (1, after)):
            run.append_metrics(step, {"eval/reward_mean": reward, "optim/updates": 1.0})
        run.set_state("RUNNING", step=1)
    page = get("/compare?" + "&".join(f"job={job.id}" for job in made)).text
    row = re.search(r'<th scope="row">held-out reward</th>(.*?)</tr>', page)
    assert row and re.findall(r">([^<]+)</td>", row[1]) == ["0.5 → 0.75", "0.5 → 0.25"]
    assert "RUNNING after 1 step, 2 updates" in page and "none of those looked for" in page
    assert str(app.state.settings.data_dir) not in page


def test_a_refusal_leads_back_to_the_page_that_asked(ask, session):
    def refused(referer):
        headers = {"cookie": f"{COOKIE}={session}", "host": "localhost", "referer": referer}
        return ask("GET", "/dashboard/datasets/nothing", headers=headers).text

    assert 'href="/dashboard/create/data?kind=sft&amp;epochs=2"' in refused(
        "http://localhost/dashboard/create/data?kind=sft&epochs=2"
    )
    for elsewhere in ("http://evil.example/dashboard/keys", "http://localhost/docs", "", "http://["):
        assert "page before" not in refused(elsewhere)


@pytest.mark.thorough
def test_a_database_that_does_not_answer_is_told_on_a_page(app, get, post):
    """Another program holds it: what writes waits for some seconds, and is then refused."""
    file = app.state.settings.data_dir / FILE_NAME
    if not file.is_file():
        pytest.skip("another database, which nobody locks whole")
    app.state.store.started()
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    try:
        answer = post("/keys", name="of the desk")
    finally:
        other.close()
    assert answer.status_code == 503 and "<h1>" in answer.text and "database: does not answer" in answer.text
    assert "of the desk" not in get("/keys").text
