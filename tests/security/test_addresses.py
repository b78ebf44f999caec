"""What a user may make the server connect to. Nothing here leaves this machine: numbers need no look-up."""

import asyncio
import socket
import threading

import pytest

from tunesmith.core import addresses
from tunesmith.core.errors import UserError
from tunesmith.services.gateway.exchange import Answer, exchange

INNER = """
http://127.0.0.1/ http://127.1/ http://127.0.0.1:8000/x http://0.0.0.0/ http://0/ http://2130706433/ http://0x7f000001/
http://017700000001/ http://0177.0.0.1/ http://0x7f.1/ http://127.0.0.1./ http://localhost/ http://LOCALHOST/
http://[::1]/ http://[::]/ http://[0:0:0:0:0:0:0:1]/ http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/
http://[::127.0.0.1]/ http://[64:ff9b::7f00:1]/ http://[64:ff9b:1::a00:1]/ http://[2002:7f00:1::]/
http://[2001:0:7f00:1::1]/ http://192.168.1.1/ http://172.16.0.1/ http://172.31.255.255/ http://100.64.0.1/
http://192.0.0.1/ http://192.0.2.1/ http://198.18.0.1/ http://198.51.100.1/ http://203.0.113.1/ http://224.0.0.1/
http://240.0.0.1/ http://255.255.255.255/ http://[fc00::1]/ http://[fd12:3456::1]/ http://[fe80::1]/ http://[ff02::1]/
http://[fec0::1]/ http://[100::1]/ http://[2001:db8::1]/ https://127.0.0.1/ http://3232235777/ http://0xc0a80101/
""".split()
WRONG = [
    "",
    "localhost",
    "//127.0.0.1/",
    "file:///etc/passwd",
    "ftp://127.0.0.1/",
    "gopher://127.0.0.1/",
    "javascript:alert(1)",
    "http://",
    "http:///path",
    "http://[::1/",
    "http://host:99999/",
    "http://user@8.8.8.8/",
    "http://8.8.8.8@127.0.0.1/",
    "http://user:secret@8.8.8.8/",
    "http://8.8.8.8/\r\nHost: x",
    "http://8.8.8.8/ x",
    "http://①②⑦.0.0.1/",
    "http://nobody.invalid/",
]


@pytest.mark.parametrize("url", INNER)
def test_inner_addresses_are_refused_however_they_are_written(url: str) -> None:
    with pytest.raises(UserError, match=r"not a public address|is not found"):
        addresses.destination("url", url)


@pytest.mark.parametrize("url", WRONG)
def test_what_is_no_url_of_a_host_is_refused(url: str) -> None:
    with pytest.raises(UserError) as refused:
        addresses.destination("url", url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [("http://8.8.8.8/a?b=c", "8.8.8.8"), ("https://[2606:4700::1111]:8443/", "2606:4700::1111")],
)
def test_public_addresses_pass(url: str, address: str) -> None:
    assert addresses.destination("url", url).address == address


def test_an_allow_list_opens_its_networks_alone() -> None:
    allowed = addresses.networks(["127.0.0.1/32", "fd00::/8"])
    assert addresses.destination("url", "http://127.0.0.1/", allowed)
    assert addresses.destination("url", "http://[::ffff:127.0.0.1]/", allowed)
    assert addresses.destination("url", "http://[fd12::1]/", allowed)
    for other in ("http://127.0.0.2/", "http://[::1]/", "http://192.168.1.1/"):
        with pytest.raises(UserError, match="not a public address"):
            addresses.destination("url", other, allowed)
    with pytest.raises(UserError, match="allowed networks"):
        addresses.networks(["127.0.0.1/8"])


def test_one_inner_address_among_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, 80)) for address in ("8.8.8.8", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(UserError, match=r"is 127\.0\.0\.1"):
        addresses.destination("url", "http://two.example/")


def test_a_connection_goes_to_the_checked_address_with_the_name_that_was_asked_for() -> None:
    """The name leads nowhere: only the address that was checked can have been used."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard: list[bytes] = []

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                heard.append(client.recv(65536))
                client.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        to = addresses.Destination("http", "nobody.invalid", listener.getsockname()[1], "127.0.0.1", "/x?y=1")

        async def ask() -> Answer:
            return await exchange(await addresses.open_streams(to), "GET", to.target, to.host, {})

        assert asyncio.run(ask()).status == 302, "it is handed on, not followed"
        thread.join()
    assert heard[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: nobody.invalid")
