"""The web page of a server, under ``/dashboard``: one small file per page, whose routes parse and render alone."""

from fastapi import Response

from tunesmith.core.errors import NotFound
from tunesmith.server.routing import Router
from tunesmith.server.web import (
    assets,
    card_page,
    compare_page,
    create_pages,
    datasets_page,
    deployments_page,
    evaluations_page,
    evaluators_page,
    fork_page,
    job_actions,
    job_page,
    jobs_page,
    keys_page,
    login_page,
    models_page,
    regrade_page,
    rollouts_page,
    write_page,
)
from tunesmith.server.web.pages import new_router

PAGES = (
    login_page,
    jobs_page,
    job_page,
    rollouts_page,
    card_page,
    fork_page,
    regrade_page,
    job_actions,
    compare_page,
    create_pages,
    write_page,
    datasets_page,
    evaluations_page,
    evaluators_page,
    models_page,
    deployments_page,
    keys_page,
)

static = new_router()


@static.get("/static/{digest}/{name:path}")
def asset(digest: str, name: str) -> Response:
    return assets.answer(name)


nowhere = new_router()


@nowhere.get("/{path:path}")
def no_page(path: str) -> Response:
    raise NotFound(path[:200], "no such page", "Begin at the list of jobs")


router = Router()
for _page in PAGES:
    router.include_router(_page.router)
router.include_router(static)
router.include_router(nowhere)
