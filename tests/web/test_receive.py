from __future__ import annotations

import errno
import io
import json
import socket
import time
from pathlib import Path

import pytest

from avloc.web.receive import BODY_TYPE, MAX_NAME_LENGTH, ReceiveLimits, clip_name, parse_size

IMPATIENT = ReceiveLimits(max_open=2, stall_s=0.3, grace_s=0.3, min_bytes_per_s=1000.0)


def open_upload(site, declared_bytes, sent=b""):
    """A connection on which an upload has begun."""
    connection = socket.create_connection(("127.0.0.1", site.port), timeout=120)
    head = f"POST /clips HTTP/1.1\r\nHost: x\r\nContent-Type: {BODY_TYPE}\r\nContent-Length: {declared_bytes}\r\n\r\n"
    connection.sendall(head.encode() + sent)
    return connection


def read_answer(connection):
    """The status and the message of an answer; closes the connection."""
    with connection, connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        length = next(int(line.split(b":")[1]) for line in file if line.lower().startswith(b"content-length"))
        while file.readline().strip():
            pass
        return status, json.loads(file.read(length))["error"]


def is_empty(store, within_s=5.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not list(store.folder.iterdir()) and not store.total_bytes:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("holiday.mp4", "holiday.mp4"),
        ("f%C3%AAte%20%F0%9F%8E%89.mp4", "fête 🎉.mp4"),
        ("../../etc/passwd", "passwd"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        (r"C:\videos\a.mp4", "a.mp4"),
        ("a%00%0d%0a%1b[2J.mp4", r"a\x00\r\n\x1b[2J.mp4"),
        ("a%E2%80%AE4pm.exe", r"a\u202e4pm.exe"),
        ("%ff%fe.mp4", "��.mp4"),
        ("<img src=x onerror=alert(1)>.mp4", "<img src=x onerror=alert(1)>.mp4"),  # pages escape it
        ("", "clip"),
        ("/", "clip"),
        ("%20", "clip"),
    ],
)
def test_clip_name(header, name):
    assert clip_name(header) == name


def test_a_long_name_keeps_its_end():
    assert clip_name("a" * 500 + ".mp4") == "a" * (MAX_NAME_LENGTH - 4) + ".mp4"


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("12", 12), ("-1", 0), ("1e3", 0), ("", 0), ("²", 0), ("9" * 5000, 10**16 - 1)]
)
def test_parse_size(text, size):
    assert parse_size(text) == size


def test_an_upload_is_stored_whole(make_site, clip):
    site = make_site()
    status, answer = site.send(clip, name="fête.mp4")
    assert status == 201
    assert set(answer) == {"token"}
    upload = site.store.find(answer["token"])
    assert upload.name == "fête.mp4"
    assert upload.clip.read_bytes() == clip


def test_what_is_too_large_is_refused(make_site):
    site = make_site(max_megabytes=1, total_megabytes=2)
    refusal = (413, {"error": "my clip.MP4: is larger than 1 MB"})
    assert site.send(bytes(1_000_001)) == refusal
    assert site.send(iter([bytes(600_000), bytes(600_000)])) == refusal  # without a declared size
    assert is_empty(site.store)


def test_a_declared_size_is_refused_before_a_byte_is_sent(make_site):
    site = make_site(max_megabytes=1)
    for declared in (1_000_001, 10**15):
        assert read_answer(open_upload(site, declared)) == (413, "clip: is larger than 1 MB")


def test_all_uploads_together_have_a_limit(make_site):
    """Unfinished uploads count with what they have sent, not with what they declare."""
    site = make_site(max_megabytes=1, total_megabytes=2)
    held = [open_upload(site, 999_999, bytes(900_000)) for _ in range(2)]
    while site.store.total_bytes < 1_800_000:
        time.sleep(0.01)
    status, answer = site.send(iter([bytes(100_000)] * 3))
    assert (status, answer["error"]) == (507, "my clip.MP4: the server has no room for it now; try again later.")
    status, answer = site.send(bytes(300_000))
    assert (status, answer["error"]) == (
        507,
        "The server is full. It removes old clips after 30 minutes; try again later.",
    )
    for connection in held:
        connection.close()
    assert is_empty(site.store)


@pytest.mark.parametrize(("content_type", "status"), [("multipart/form-data; boundary=x", 415), ("text/plain", 415)])
def test_forms_of_other_sites_are_refused(make_site, content_type, status):
    """A page of another site can send these types without the server's consent."""
    assert make_site().send(b"x", **{"Content-Type": content_type})[0] == status


def test_an_empty_clip_is_refused(make_site):
    site = make_site()
    assert site.send(b"") == (400, {"error": "my clip.MP4: is empty"})
    assert is_empty(site.store)


def test_a_stalled_and_a_slow_upload_are_given_up(make_site):
    site = make_site(receive_limits=IMPATIENT)
    stalled = open_upload(site, 10_000, b"x")
    assert read_answer(stalled) == (408, "clip: the upload stalled; try again")
    slow = open_upload(site, 10_000)
    for _ in range(8):
        slow.sendall(b"x")
        time.sleep(0.06)
    assert read_answer(slow) == (408, "clip: the upload is too slow; try again on a faster connection")
    assert is_empty(site.store)


def test_the_number_of_open_uploads_has_a_limit(make_site, clip):
    site = make_site(receive_limits=ReceiveLimits(max_open=2))
    held = [open_upload(site, 10_000, b"x") for _ in range(2)]
    while site.store.total_bytes < 2:
        time.sleep(0.01)
    assert site.send(clip) == (503, {"error": "Too many uploads at once; try again in a minute."})
    for connection in held:
        connection.close()
    assert is_empty(site.store)
    assert site.send(clip)[0] == 201


def test_the_slowest_upload_gives_way_to_a_new_one(make_site, clip):
    site = make_site(receive_limits=ReceiveLimits(max_open=2, spare_s=0.2, spare_bytes_per_s=100_000.0))
    fast = open_upload(site, 150_000, bytes(140_000))
    slow = open_upload(site, 10_000, b"x")
    while site.store.total_bytes < 140_001:
        time.sleep(0.01)
    assert site.send(clip)[0] == 503  # none is old enough
    time.sleep(0.25)
    assert site.send(clip)[0] == 201
    assert read_answer(slow) == (408, "clip: the upload is too slow; try again on a faster connection")
    with fast:
        fast.sendall(bytes(10_000))
        with fast.makefile("rb") as file:
            assert file.readline().split()[1] == b"201"


def test_a_full_disk_is_a_message(make_site, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    site = make_site()
    monkeypatch.setattr(Path, "open", lambda *_, **__: Full())
    status, answer = site.send(bytes(2_000_000))
    assert (status, answer["error"]) == (507, "my clip.MP4: the server cannot store it now (No space left on device)")
    assert is_empty(site.store)
