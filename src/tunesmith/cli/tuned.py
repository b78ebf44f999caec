"""Use what was trained: ``sample`` chats with it, ``eval`` scores it."""

from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Argument(help="Run, model or adapter folder, @latest, or `embedded`.")]


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(sample if name == "sample" else evaluate)


def sample(
    model: Model,
    text: Annotated[str | None, typer.Argument(help="What to say; without it, chat until end of input.")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest answer in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens with this mass.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0 is off.")] = 40,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answer.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the answer with its tokens as JSON.")] = False,
) -> None:
    """Chat with a run or model in the terminal.

    Example: tunesmith sample @latest "What is 27 + 45?"
    """
    from tunesmith.cli.output import print_json, say
    from tunesmith.core.types import SamplingParams
    from tunesmith.services.serve_local import chat, open_tuned

    engine = open_tuned(_resolved(model))
    history: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    room = engine.model.config.max_positions
    for turn, line in enumerate([text] if text is not None else _lines()):
        history.append({"role": "user", "content": line})
        length = len(engine.renderer.prompt(history))
        if length >= room:
            say(f"the conversation fills the model's context of {room} tokens; start a new one")
            return
        params = SamplingParams(min(max_tokens, room - length), temperature, top_p, top_k, (), seed + turn)
        answer, completion = chat(engine, history, params)
        history.append({"role": "assistant", "content": answer})
        if json:
            tokens, logprobs = completion.tokens.tolist(), completion.logprobs.tolist()
            print_json({"text": answer, "tokens": tokens, "logprobs": logprobs, "stop": completion.stop})
        else:
            typer.echo(answer)


def _lines() -> Any:
    """What a person types, until end of input."""
    while True:
        try:
            yield input("> ")
        except EOFError:
            return


def evaluate(
    model: Model,
    dataset: Annotated[str | None, typer.Option(help="Rows to score on; default: the run's own dataset.")] = None,
    evaluator: Annotated[list[str] | None, typer.Option(help="Grader; default: the run's own.")] = None,
    n: Annotated[int, typer.Option("--n", help="Responses per row.")] = 4,
    temperature: Annotated[float | None, typer.Option(help="Default: the run's own, else 0.7.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest response.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same numbers.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line.")] = False,
) -> None:
    """Score a run or model on held-out rows.

    Example: tunesmith eval @latest --dataset heldout.jsonl --evaluator last_number
    """
    from tunesmith.cli.output import print_json
    from tunesmith.services.serve_local import evaluate_model

    given = {"dataset": dataset, "evaluator": evaluator or None, "temperature": temperature, "max_tokens": max_tokens}
    settings = {name: value for name, value in given.items() if value is not None}
    result = evaluate_model(_resolved(model), {**settings, "eval_samples": n, "seed": seed, "limits": "off"})
    if json:
        print_json(result.as_dict())
        return
    interval = (
        f"   95% interval [{result.reward_ci95[0]:.3f}, {result.reward_ci95[1]:.3f}]" if result.reward_ci95 else ""
    )
    typer.echo(f"{'reward':<22}{result.reward_mean:.3f}{interval}")
    typer.echo(f"{'rows x responses':<22}{result.rows} x {result.samples}")
    typer.echo(f"{'failed gradings':<22}{result.failed_share:.1%}")
    typer.echo(f"{'cut off':<22}{result.truncated_share:.1%}")
    typer.echo(f"{'tokens per response':<22}{result.length_mean:.1f}")


def _resolved(name: str) -> str:
    """A folder as given, `embedded`, or the run that a short name means."""
    from tunesmith.services.run_folder import find_run

    return name if name == "embedded" or Path(name).exists() else str(find_run(name).path)
