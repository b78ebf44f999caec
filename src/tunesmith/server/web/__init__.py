"""The web page of a server, under ``/dashboard``: one small file per page, whose routes parse and render alone."""

from fastapi import APIRouter, Response

from tunesmith.server.web import assets, job_actions, job_page, jobs_page, login_page
from tunesmith.server.web.pages import new_router

PAGES = (login_page, jobs_page, job_page, job_actions)

static = new_router()


@static.get("/static/{digest}/{name:path}")
def asset(digest: str, name: str) -> Response:
    return assets.answer(name)


router = APIRouter()
for _page in PAGES:
    router.include_router(_page.router)
router.include_router(static)
