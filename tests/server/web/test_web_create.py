"""A draft through the pages that make a job: addresses that hold it, refusals at their fields, what comes out."""

import pytest
from server.web.conftest import new_job

from tunesmith.server.web.draft import boxes_of, draft_of, draft_of_job
from tunesmith.server.web.setting_fields import FIRST, fields_of, goals_of
from tunesmith.spec.goals import GOALS
from tunesmith.spec.load import KINDS

QUERY = "kind=rft&dataset=sums&evaluator=contains"


def test_boxes_become_evaluator_strings_and_back():
    draft = draft_of(
        [
            ("use", "contains"),
            ("use", "regex"),
            ("contains.ignore_case", "true"),
            ("contains.weight", "0.7"),
            ("regex.pattern", "a=b&c"),
            ("length.target", "9"),
        ]
    )
    assert draft.evaluators == ("contains:ignore_case=true=0.7", "regex:pattern=a%3Db%26c")
    assert boxes_of(draft) == {"contains": {"ignore_case": "true", "weight": "0.7"}, "regex": {"pattern": "a=b&c"}}


def test_an_uploaded_evaluator_is_named_alone():
    draft = draft_of([("use", "uploaded:mine")])
    assert draft.evaluators == ("uploaded:mine",)
    assert boxes_of(draft) == {"uploaded:mine": {}}


def test_what_is_no_setting_is_left_aside_and_empty_fields_are_defaults():
    draft = draft_of(
        [("kind", "sft"), ("epochs", " 3 "), ("learning_rate", ""), ("trial", "x"), ("output_dir", "/etc")]
    )
    assert draft.settings == {"epochs": "3"}
    assert "output_dir" not in draft.href("plan")


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_a_field_with_its_meaning(kind):
    fields = fields_of(draft_of([("kind", kind)]))
    assert [f.name for f in fields.first] == list(FIRST[kind])
    assert [f.name for f in [*fields.first, *fields.others] if not f.meaning] == []


def test_a_refused_setting_is_told_at_its_field(get, job):
    page = get(f"/create/plan?{QUERY}&epochs=99")
    assert page.status_code == 400
    assert 'aria-invalid="true"' in page.text
    assert "outside valid range [1, 10] (got 99)." in page.text and "See: tunesmith" not in page.text
    assert get(f"/create/plan?{QUERY}&epochs=2").status_code == 200


def test_settings_come_after_a_grader(get, job):
    page = get("/create/settings?kind=rft&dataset=sums&epochs=2")
    assert page.status_code == 400 and "Choose at least one grader" in page.text and 'name="use"' in page.text
    assert 'name="epochs" value="2"' in page.text
    assert get("/create/settings?kind=sft&dataset=sums").status_code == 200


def test_who_has_no_dataset_is_asked_for_one_alone(app, get):
    page = get("/create/data?kind=sft").text
    assert "Upload a dataset" in page and "Train on" not in page
    new_job(app, "ann", "first")
    page = get("/create/data?kind=rft").text
    assert "Or upload one" in page and "Train on" in page


def test_a_goal_fills_in_its_fields_and_keeps_what_was_typed():
    draft = draft_of([("kind", "rft"), ("epochs", "3"), ("learning_rate", "2e-4")])
    goals = {goal.name: goal for goal in goals_of(draft)}
    assert len(goals) == len(GOALS)
    assert goals["prevent overfitting"].changes == "epochs 1, lora_rank 4"
    assert "epochs=1&" in goals["prevent overfitting"].href
    assert "learning_rate=2e-4" in goals["prevent overfitting"].href
    assert "safer" not in {goal.name for goal in goals_of(draft_of([("kind", "sft")]))}


def test_launch_makes_the_job_with_typed_settings(app, post, job):
    answer = post(
        "/create/launch",
        kind="rft",
        dataset="sums",
        evaluator="contains",
        epochs="2",
        learning_rate="2e-4",
        name="made",
    )
    assert answer.headers["location"] == "/dashboard/fine-tuning/reinforcement/made"
    made = app.state.jobs.find("ann", "rft", "made")
    assert dict(made.settings) == {
        "base_model": "tunesmith/embedded",
        "evaluator": "contains",
        "epochs": 2,
        "learning_rate": 2e-4,
    }


def test_a_clone_begins_with_the_settings_of_its_model_job(app, get):
    job = new_job(app, "ann", "first", epochs=3, lora_rank=16)
    draft = draft_of_job(job)
    assert draft.settings == {"epochs": "3", "lora_rank": "16"}
    moved = get(f"/create/settings?from={job.id}&temperature=1.1")
    assert moved.status_code == 303
    for part in ("epochs=3", "lora_rank=16", "temperature=1.1", "dataset=sums", "evaluator=contains"):
        assert part in moved.headers["location"]


def test_files_of_the_server_are_no_graders_here(post, job):
    for evaluator in (f"{__file__}::grade", "project:/etc", "sql:folder=/etc"):
        for page in ("launch", "try", "rehearse"):
            answer = post(f"/create/{page}", kind="rft", dataset="sums", evaluator=evaluator)
            assert answer.status_code in (400, 404), (page, evaluator)


def test_pages_of_a_draft_without_a_dataset_say_so(get, job):
    assert "none was chosen" in get("/create/plan?kind=sft").text
    assert get("/create/data?kind=nonsense").status_code == 400


@pytest.mark.thorough
def test_a_result_that_the_server_forgot_is_told_and_the_page_goes_on(get, job):
    told = get("/create/errands/0123")
    assert told.status_code == 200 and "This result is gone" in told.text and "hx-trigger" not in told.text
    for page in (f"/create/grader?{QUERY}&trial=0123", f"/create/plan?{QUERY}&errand=0123"):
        assert "This result is gone" in get(page).text
