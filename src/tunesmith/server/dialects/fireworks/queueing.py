"""Operations in a model's sequence: what is refused is the result of its future, so that the next can follow."""

from collections.abc import Callable

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.fireworks.place import Place
from tunesmith.services.sessions.results import Failed


def queued(here: Place, model_id: str, seq: int, work: Callable[[], str]) -> dict[str, str]:
    """The id of an operation's future.

    A client that is refused at once takes the model's whole sequence for broken and sends nothing more.

    Args:
        work: queues the operation and returns its request id, or raises what is wrong with it.

    Raises:
        NotFound, Denied: the model is not there, or not the key's.
    """
    here.sessions.models.find(here.owner, model_id)
    try:
        return {"request_id": work()}
    except UserError as e:
        request_id = f"{model_id}:{seq}"
        if request_id not in here.sessions.futures:
            here.sessions.futures.open(request_id, here.owner).finish(Failed(str(e), "user"))
        return {"request_id": request_id}
