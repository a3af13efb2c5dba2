from __future__ import annotations

import socket
import sys
import time

import pytest

from avloc.errors import AvlocError
from avloc.web import server
from avloc.web.server import listen, make_server, url_of


def test_any_free_port():
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        assert first.getsockname()[1] != second.getsockname()[1]


def test_a_taken_port_is_an_error():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(
            AvlocError, match=rf"cannot listen on http://127\.0\.0\.1:{port} \(Address already in use\)"
        ):
            listen("127.0.0.1", port)


def test_a_port_can_be_used_again_at_once():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        first.setblocking(True)
        first.accept()[0].close()  # the server closes first, so its side of the connection lingers
        client.close()
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("203.0.113.9", r"cannot listen on http://203\.0\.113\.9:7860 \(Cannot assign requested address\)"),
        ("no host", "--host no host: is no address of this machine"),
        ("a\x1b[2J", r"--host a\\x1b\[2J: is no address of this machine"),
        ("a" * 70 + ".example", "is no address of this machine"),
        ("..", "is no address of this machine"),
    ],
)
def test_a_host_that_is_not_this_machine_is_an_error(host, message):
    with pytest.raises(AvlocError, match=message):
        listen(host, 7860)


def test_url():
    assert url_of("0.0.0.0", 1) == "http://0.0.0.0:1"


def test_requests_in_progress_do_not_hold_up_the_end(make_site, monkeypatch, capsys):
    monkeypatch.setattr(server, "SHUTDOWN_S", 0.2)
    site = make_site()
    unfinished = socket.create_connection(("127.0.0.1", site.port), timeout=120)
    unfinished.sendall(b"POST /clips HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n")
    unfinished.sendall(b"Content-Length: 9\r\n\r\nx")
    while not site.store.total_bytes:
        time.sleep(0.01)
    begin_s = time.monotonic()
    site.stop()
    assert time.monotonic() - begin_s < 5
    assert "Traceback" not in capsys.readouterr().err
    assert b"The server is stopping." in unfinished.recv(10_000)
    unfinished.close()


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(AvlocError, match=r"the web page needs the extra web: pip install 'avloc\[web\]'"):
        make_server(None)
