"""Links that open once, sessions that end, and nothing in the database that would log anybody in."""

import pytest
from sqlalchemy import text, update

from tunesmith.core.errors import Denied
from tunesmith.services.logins import LoginRow, Logins, login_address
from tunesmith.services.store import open_store


@pytest.fixture
def store(tmp_path, database):
    opened = open_store(database(tmp_path))
    yield opened
    opened.close()


def test_a_link_opens_once(store):
    logins = Logins(store)
    link = logins.new_link("ann")
    session = logins.open_link(link)
    assert logins.owner_of(session) == "ann"
    with pytest.raises(Denied, match="opened before"):
        logins.open_link(link)
    assert logins.owner_of(session) == "ann"


def test_links_and_sessions_do_not_stand_for_each_other(store):
    logins = Logins(store)
    link, session = logins.new_link("ann"), logins.new_session("ann")
    assert logins.owner_of(link) is None
    with pytest.raises(Denied):
        logins.open_link(session)
    assert logins.owner_of(session) == "ann"


def test_both_expire_and_a_session_ends_at_once(store):
    logins = Logins(store)
    link, session, other = logins.new_link("ann"), logins.new_session("ann"), logins.new_session("bob")
    logins.end(other)
    assert logins.owner_of(other) is None
    with store.begin() as db:
        db.execute(update(LoginRow).values(expires_at="2020-01-01T00:00:00+00:00"))
    assert logins.owner_of(session) is None
    with pytest.raises(Denied):
        logins.open_link(link)


def test_the_database_holds_no_token(store):
    logins = Logins(store)
    tokens = [logins.new_link("ann"), logins.new_session("ann")]
    kept = " ".join(map(str, store.rows(text("select * from logins"))))
    assert [token for token in tokens if token in kept] == []


def test_the_address_of_a_link():
    assert login_address("http://host:1/", "t0k") == "http://host:1/dashboard/login?token=t0k"
