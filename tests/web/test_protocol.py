from __future__ import annotations

import contextlib
import socket
import time

import pytest

pytest.importorskip("uvicorn")
from avloc.web import protocol


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /"]
)
def test_a_connection_without_a_whole_request_is_closed(make_site, monkeypatch, sent):
    monkeypatch.setattr(protocol, "IDLE_S", 0.2)
    monkeypatch.setattr(protocol, "CHECK_S", 0.05)
    site = make_site()
    with socket.create_connection(("127.0.0.1", site.port), timeout=120) as connection:
        begin_s = time.monotonic()
        connection.sendall(sent)
        try:
            while connection.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        assert 0.1 < time.monotonic() - begin_s < 15


def test_a_silent_connection_gives_way_to_a_new_one(make_site, monkeypatch):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 4)
    site = make_site()
    silent = [socket.create_connection(("127.0.0.1", site.port), timeout=120) for _ in range(9)]
    assert site.request("/")[0] == 200
    for connection in silent:
        connection.close()


def test_an_answer_that_nobody_reads_is_given_up(make_site, monkeypatch):
    monkeypatch.setattr(protocol, "UNREAD_S", 0.2)
    monkeypatch.setattr(protocol, "CHECK_S", 0.05)
    site = make_site(max_megabytes=50)
    upload = site.store.create("large.mp4")
    upload.clip.write_bytes(bytes(40_000_000))
    upload.page.touch()
    site.store.finish(upload)
    for unread_s in (0.6, 3.0, 15.0):  # a busy machine may notice late
        received = 0
        with socket.create_connection(("127.0.0.1", site.port), timeout=120) as connection:
            connection.sendall(f"GET /timeline/{upload.token}/clip HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(unread_s)
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(1 << 20):
                    received += len(part)
        if received < 40_000_000:
            break
    assert received < 40_000_000
    assert len(site.request(f"/timeline/{upload.token}/clip")[1]) == 40_000_000


def test_a_long_request_is_not_closed(make_site, monkeypatch, clip):
    monkeypatch.setattr(protocol, "IDLE_S", 0.2)
    monkeypatch.setattr(protocol, "CHECK_S", 0.05)
    site = make_site()

    def parts():
        for k in range(0, len(clip), len(clip) // 6 + 1):
            time.sleep(0.1)
            yield clip[k : k + len(clip) // 6 + 1]

    assert site.send(parts())[0] == 201
