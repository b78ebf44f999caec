"""Who gets in, under which names, and which requests are refused although the cookie is good."""

import re
from dataclasses import replace

import pytest

from tunesmith.core.errors import UserError
from tunesmith.server.web import assets
from tunesmith.server.web.visitor import COOKIE, Visitor

HOST = {"host": "localhost"}


def cookie_of(answer):
    return re.search(rf"{COOKIE}=([^;]*)", answer.headers["set-cookie"])[1]


def test_a_link_logs_in_once_and_leads_to_the_jobs(app, ask):
    link = "/dashboard/login?token=" + app.state.logins.new_link("ann")
    answer = ask("GET", link, headers=HOST)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/fine-tuning")
    said = answer.headers["set-cookie"]
    assert "HttpOnly" in said and "SameSite=Lax" in said and "Path=/dashboard" in said
    seen = ask("GET", "/dashboard/fine-tuning", headers={**HOST, "cookie": f"{COOKIE}={cookie_of(answer)}"})
    assert seen.status_code == 200
    again = ask("GET", link, headers=HOST)
    assert again.status_code == 403
    assert "opened before" in again.text


def test_a_key_logs_in_and_a_wrong_one_is_told_so(app, ask):
    key = app.state.keys.create("bob")
    good = ask("POST", "/dashboard/login", headers=HOST, data={"key": key, "back": "/dashboard/datasets"})
    assert (good.status_code, good.headers["location"]) == (303, "/dashboard/datasets")
    assert app.state.logins.owner_of(cookie_of(good)) == "bob"
    wrong = ask("POST", "/dashboard/login", headers=HOST, data={"key": "tml-no"})
    assert wrong.status_code == 403
    assert "unknown or revoked" in wrong.text
    assert "tml-no" not in wrong.text


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/dashboard/\\evil", "/v1/models"])
def test_a_login_leads_to_our_own_pages_alone(app, ask, back):
    answer = ask("GET", f"/dashboard/login?token={app.state.logins.new_link()}", headers=HOST, params={"back": back})
    moved = ask("POST", "/dashboard/login", headers=HOST, data={"key": app.state.keys.create("bob"), "back": back})
    assert answer.status_code in (200, 303)
    assert moved.headers["location"] == "/dashboard/fine-tuning"


def test_without_a_session_every_page_leads_to_the_login(ask):
    answer = ask("GET", "/dashboard/fine-tuning?kind=rft", headers=HOST)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/dashboard/login?back=%2Fdashboard%2Ffine-tuning%3Fkind%3Drft"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("evil.example", 403), ("", 403)],
)
def test_names_that_are_not_ours_are_refused(ask, host, status):
    assert ask("GET", "/dashboard/login", headers={"host": host}).status_code == status


def test_the_page_answers_to_the_name_that_other_machines_use(app, ask):
    app.state.settings = replace(app.state.settings, public_url="https://tune.example.org/")
    assert ask("GET", "/dashboard/login", headers={"host": "tune.example.org"}).status_code == 200
    assert app.state.settings.reached_at == app.state.settings.to_workers().base_url == "https://tune.example.org"
    with pytest.raises(UserError, match="is no address"):
        replace(app.state.settings, public_url="tune.example.org")


def test_changes_need_our_origin_and_the_token_of_the_session(ask, session, job):
    address = f"/dashboard/fine-tuning/reinforcement/{job.name}/cancel"
    token = Visitor("ann", session).csrf
    base = {**HOST, "cookie": f"{COOKIE}={session}"}
    for headers, fields in (
        ({}, {}),
        ({}, {"csrf": "0" * 64}),
        ({"origin": "https://evil.example"}, {"csrf": token}),
        ({"sec-fetch-site": "cross-site"}, {"csrf": token}),
    ):
        assert ask("POST", address, headers={**base, **headers}, data=fields).status_code == 403
    good = ask("POST", address, headers={**base, "origin": "http://localhost"}, data={"csrf": token})
    assert good.status_code == 303


def test_logging_out_ends_the_session(app, post, session):
    answer = post("/logout")
    assert answer.headers["location"] == "/dashboard/login"
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert app.state.logins.owner_of(session) is None


def test_a_browser_may_load_nothing_but_our_own_files(get):
    page = get("/fine-tuning")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert re.findall(r"<script(?![^>]*\bsrc=)", page.text) == []
    assert re.findall(r"\s(?:style|on\w+)=", page.text) == []
    assert [
        url for url in re.findall(r'(?:src|href)="([^"]+)"', page.text) if not url.startswith(("/dashboard", "#"))
    ] == []


def test_a_page_without_its_libraries_says_how_to_get_them(get):
    page = get("/fine-tuning").text
    assert ("make web" in page) is bool(assets.missing())
    assert ("lib/htmx.min.js" in page) is (not assets.missing())
