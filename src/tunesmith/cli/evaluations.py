"""``tunesmith evaluations``: how good a model of a server is on a dataset, as a job of the server's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.client import Client, client_of
from tunesmith.cli.columns import seconds
from tunesmith.cli.create import Follow
from tunesmith.cli.follow import stay
from tunesmith.cli.managed import State, print_log
from tunesmith.cli.nouns import Thing, add_group, discard, do, fetch, find, show, show_list
from tunesmith.cli.options import with_flags
from tunesmith.cli.output import minute, print_json, say
from tunesmith.cli.references import AsJson, Url, Yes
from tunesmith.spec import RftSpec

Evaluation = Annotated[str, typer.Argument(help="Id or name of the evaluation, the beginning of either, or @latest.")]
BAR = 40
"""Characters of the longest bar of a histogram."""


def add_to(app: typer.Typer, name: str) -> None:
    flags = with_flags(create, RftSpec, only=FLAGS)
    flags.__name__ = "create"
    add_group(app, name, flags, list_evaluations, get, follow, results, logs, download, cancel, resume, delete)


FLAGS = (
    *("temperature", "top_p", "top_k", "max_tokens", "max_context_length", "seed", "rollout_timeout_s"),
    *("grader_timeout_s", "grader_memory_mb", "max_concurrent_rollouts", "skip_bad_rows", "limits"),
)
"""Settings of rft that are flags here too."""


def create(
    settings: dict[str, Any],
    dataset: Annotated[str, typer.Option(help="Prompts: a JSONL file, which is uploaded, or the id of a dataset.")],
    evaluator: Annotated[list[str], typer.Option(help="Grader, as in a job; `file.py::function` is uploaded.")],
    model: Annotated[
        str | None, typer.Option(help="Whose answers are graded; default: nobody's, the rows hold the answers.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "--n", help="Answers per row [default 4].", min=1)] = None,
    name: Annotated[str | None, typer.Option(help="Unique among the evaluations; default its id.")] = None,
    output_dataset: Annotated[
        str | None, typer.Option(help="Id of the dataset that it leaves; default the name with -results.")
    ] = None,
    follow: Follow = False,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Grade the answers of a model on a server; files are uploaded.

    Example: tunesmith evaluations create --model sums --dataset heldout.jsonl --evaluator last_number --follow
    """
    from tunesmith.cli.upload import dataset_named, evaluator_named

    client = client_of(url)
    given = {"model": model, "eval_samples": samples, "name": name, "output_dataset": output_dataset}
    body = settings | {field: value for field, value in given.items() if value is not None}
    body["dataset"] = dataset_named(client, dataset, "rft")
    named = evaluator_named(client, evaluator)
    body["evaluator"] = named[0] if isinstance(named, list) and len(named) == 1 else named
    made = client.post("/evaluations", body)
    say(f"evaluation {made['id']} is {made['state']}; its results will be the dataset {made['output_dataset']}")
    say(f"{client.url}{made['page']}")
    if follow:
        _follow(client, made["id"], json)
        return
    say(f"look at it with: tunesmith evaluations follow {made['id']}")
    if json:
        print_json(made)
    else:
        typer.echo(made["id"])


def list_evaluations(
    state: State = None,
    limit: Annotated[int, typer.Option(help="Most entries.", min=1, max=200)] = 20,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """List the newest evaluations.

    Example: tunesmith evaluations list --state succeeded
    """
    found = client_of(url).get("/evaluations", state=state or None, limit=limit)["items"]
    headings = {"id": "id", "name": "name", "model": "model", "dataset": "dataset", "state": "state"}
    headings |= {"reward": "reward", "created": "created", "why": "reason"}
    show_list(found, json, headings, lambda one: {**one, "reward": _scored(one), "created": minute(one["created_at"])})


def get(evaluation: Evaluation, url: Url = None, json: AsJson = False) -> None:
    """Show an evaluation: how far it is, its score, how the rewards spread.

    Example: tunesmith evaluations get @latest
    """
    _show(find("evaluations", evaluation, url).get(), json)


def follow(evaluation: Evaluation, url: Url = None, json: AsJson = False) -> None:
    """Wait for an evaluation's end, and show it; exit code 1 where it failed. Ctrl-C leaves it running.

    Example: tunesmith evaluations follow @latest
    """
    found = find("evaluations", evaluation, url)
    _follow(found.client, found.name, json)


def results(
    evaluation: Evaluation,
    order: Annotated[str, typer.Option(help="file, worst or best first.")] = "worst",
    limit: Annotated[int, typer.Option(help="Most answers.", min=1, max=200)] = 10,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Print graded answers with what the grader said of them.

    Example: tunesmith evaluations results @latest --order best
    """
    found = find("evaluations", evaluation, url).get("/results", order=order, limit=limit)["items"]
    if json:
        print_json(found)
        return
    for one in found:
        reward = "not graded" if one["reward"] is None else f"{one['reward']:.3f}"
        typer.secho(f"{reward}  row {one['prompt_id']}, answer {one['candidate']}", bold=True)
        for label, text in (("asked", one["prompt_text"]), ("said", one["text"])):
            typer.echo(f"  {label}: {' '.join(text.split())[-400:]}")
        if why := one["error"] or one["reason"]:
            typer.echo(f"  why: {why.strip()}")


def logs(evaluation: Evaluation, follow: Follow = False, url: Url = None, json: AsJson = False) -> None:
    """Print an evaluation's log; as JSON, an object for each piece of it.

    Example: tunesmith evaluations logs @latest
    """
    print_log(find("evaluations", evaluation, url), follow, json)


def download(
    evaluation: Evaluation,
    output: Annotated[Path | None, typer.Option(help="File; default <output dataset>.jsonl.")] = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Fetch the results of an evaluation that ended, a line for each answer.

    Example: tunesmith evaluations download @latest --output results.jsonl
    """
    made = find("evaluations", evaluation, url).get()["output_dataset"]
    fetch(find("datasets", made, url), "/content", output or Path(f"{made}.jsonl"), json)


def cancel(evaluation: Evaluation, url: Url = None, json: AsJson = False) -> None:
    """End an evaluation.

    Example: tunesmith evaluations cancel @latest
    """
    do("cancel", "evaluations", evaluation, url, json)


def resume(evaluation: Evaluation, url: Url = None, json: AsJson = False) -> None:
    """Go on with one that was cancelled or has failed, after the rows that are graded.

    Example: tunesmith evaluations resume @latest
    """
    do("resume", "evaluations", evaluation, url, json)


def delete(evaluation: Evaluation, yes: Yes = False, url: Url = None, json: AsJson = False) -> None:
    """Remove an evaluation with all that it wrote; the dataset of its results stays.

    Example: tunesmith evaluations delete @latest --yes
    """
    found = find("evaluations", evaluation, url)
    discard(found, f"Delete evaluation {found.name} with all that it wrote?", yes, json)


def _follow(client: Client, evaluation_id: str, as_json: bool) -> None:
    told = ""

    def tell(now: Thing) -> None:
        nonlocal told
        line = f"  {now['state']} {now['progress']['percent']}%" + (f"  reward {_scored(now)}" if now["score"] else "")
        if line != told:
            say(line)
            told = line

    if stay(client, "evaluations", evaluation_id, tell, _show, as_json)["state"] == "succeeded":
        say(f"next: tunesmith evaluations results {evaluation_id}")


def _show(evaluation: Thing, as_json: bool) -> None:
    progress, score = evaluation["progress"], evaluation["score"]
    names = ("id", "name", "state", "reason", "model", "dataset", "evaluator", "output_dataset", "created_at")
    left = seconds(progress["eta_s"]) if progress["eta_s"] is not None else ""
    fields = {name: evaluation[name] for name in names} | {"done": f"{progress['percent']}%", "time left": left}
    if score:
        fields |= {"reward": _scored(evaluation), "rows": score["rows"], "answers": score["attempts"]}
        fields |= {"failed gradings": f"{score['failed_share']:.1%}"}
    show(evaluation, as_json, fields)
    if score and not as_json:
        for line in _bars(score["histogram"]):
            typer.echo(line)


def _scored(evaluation: Thing) -> str:
    """A mean with its interval, as people write it."""
    score = evaluation["score"]
    if not score:
        return ""
    interval = score["reward_ci95"]
    return f"{score['reward_mean']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _bars(histogram: list[tuple[float, float, int]]) -> Iterator[str]:
    most = max((count for _, _, count in histogram), default=0)
    for low, high, count in histogram:
        yield f"  {low:7.3f} to {high:7.3f}  {'█' * round(BAR * count / most)} {count}"
