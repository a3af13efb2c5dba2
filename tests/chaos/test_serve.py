"""Requests, clips and clients that try to break `avloc serve`, to read its machine, or to keep others out."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

BODY = b"Content-Type: application/octet-stream\r\n"
# Each is sent as it is; the server answers 4xx or closes the connection.
GARBAGE = {
    "no request": b"\x00\xff\x16\x03\x01 hello\r\n\r\n",
    "half a request": b"GET /clips/ HTT",
    "no version": b"GET /\r\n\r\n",
    "long path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET /clips/x HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
    "negative length": b"POST /clips HTTP/1.1\r\nHost: x\r\n" + BODY + b"Content-Length: -5\r\n\r\nhello",
    "endless length": b"POST /clips HTTP/1.1\r\nHost: x\r\n" + BODY + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "large length": b"POST /clips HTTP/1.1\r\nHost: x\r\n" + BODY + b"Content-Length: 999999999999999\r\n\r\nx",
    "two lengths": b"POST /clips HTTP/1.1\r\nHost: x\r\n" + BODY + b"Content-Length: 1\r\nContent-Length: 9\r\n\r\nx",
    "length and chunks": b"POST /clips HTTP/1.1\r\nHost: x\r\n"
    + BODY
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /clips/x HTTP/1.1\r\n\r\n",
    "broken chunks": b"POST /clips HTTP/1.1\r\nHost: x\r\n"
    + BODY
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    "address as path": b"GET http://127.0.0.1:1/secret HTTP/1.1\r\nHost: x\r\n\r\n",
    "proxy": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "path of a file": b"GET /timeline/../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "zero byte": b"GET /timeline/%00/clip HTTP/1.1\r\nHost: x\r\n\r\n",
    "not utf-8": b"GET /clips/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
    "many at once": b"GET /clips/x HTTP/1.1\r\nHost: x\r\n\r\n" * 500,
    "multipart": b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b'Content-Length: 60\r\n\r\n--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--b--\r\n',
}
NAMES = [
    "../../x.mp4",
    "/dev/zero",
    "http://127.0.0.1:1/x.mp4",
    "a\n\x1b[2J.mp4",
    "%s%n{0}.mp4",
    "x" * 5000,
    "<script>.mp4",
]


def send_raw(port, sent):
    """The first line of the answer to bytes; empty if the connection is closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        received = b""
        try:
            connection.sendall(sent)
            with suppress(OSError):  # a server that answers early may have closed the connection; its answer counts
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                received += part
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert b"root:" not in received
        return received.split(b"\r\n")[0]


class SlowUploads:
    """Clients that have begun to upload, and send a byte now and then."""

    def __init__(self, port, count):
        head = b"POST /clips HTTP/1.1\r\nHost: x\r\n" + BODY + b"Content-Length: 900000\r\n\r\n"
        self.connections = [socket.create_connection(("127.0.0.1", port), timeout=120) for _ in range(count)]
        for connection in self.connections:
            connection.sendall(head)
            connection.setblocking(False)

    def send(self):
        """Send a byte each; return the number of connections that the server has given up."""
        ended = 0
        for connection in self.connections:
            try:
                connection.send(b"x")
                connection.recv(1, socket.MSG_PEEK)  # an answer, or the end
            except BlockingIOError:
                continue
            except OSError:
                pass
            ended += 1
        return ended

    def close(self):
        for connection in self.connections:
            connection.close()


@pytest.fixture(scope="module")
def server(make_server, tmp_path_factory):
    words = (
        "--largest",
        "1",
        "--total",
        "12",
        "--parallel",
        "2",
        "--queue",
        "100",
        "--longest",
        "1m",
        "--expire",
        "15s",
    )
    return make_server(tmp_path_factory.mktemp("serve"), *words)


@pytest.fixture(autouse=True)
def survives(server):
    """After each test the same server answers, and nothing of its log is a traceback."""
    memory_mb = server.rss_mb()
    yield
    assert server.request("/")[0] == 200
    assert server.process.poll() is None
    assert server.rss_mb() < memory_mb + 100
    assert "Traceback" not in server.log.read_text(), server.log.read_text()


def wait_until_empty(server):
    """Wait until all clips have expired."""
    deadline_s = time.monotonic() + 300
    while any(path.name != "avloc-serve.lock" for path in server.files()):
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


def localize_all(server, paths):
    """By outcome, the number of clips."""
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(server.localize, paths))
    assert not any(str(server.folder) in answer for answer in answers)
    done = sum(server.request(f"/timeline/{answer}/")[0] == 200 for answer in answers if " " not in answer)
    return {"localized": done, "refused with a message": len(answers) - done}


def test_odd_requests(server):
    for name, sent in GARBAGE.items():
        answer = send_raw(server.port, sent)
        assert answer == b"" or answer.split()[1][:1] == b"4", (name, answer)
    for name in NAMES:
        headers = {"Content-Type": "application/octet-stream", "X-Clip-Name": name.encode("unicode_escape").decode()}
        status, answer = server.request("/clips", "POST", b"no media", headers)
        assert status == 201
        assert list(json.loads(answer)) == ["token"]
    print(f"{len(GARBAGE)} odd requests and {len(NAMES)} odd names: the server answered or closed each, and goes on")


def test_damaged_clips_and_bombs(server, mutated_clips, bombs):
    paths = [*mutated_clips(14), *bombs.values()]
    print(f"{len(paths)} damaged clips and bombs:", localize_all(server, paths))
    assert server.localize(bombs["long"]).startswith("long.mkv: ")
    assert server.localize(bombs["big"]).startswith("big.mkv: ")


def test_more_than_the_server_keeps(server):
    """40 uploads of 10 MB passed a limit of 20 MB once; here 40 of 0.9 MB meet one of 12 MB."""
    held = SlowUploads(server.port, 0)
    head = b"POST /clips HTTP/1.1\r\nHost: x\r\n" + BODY + b"Content-Length: 900001\r\n\r\n"
    for _ in range(40):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=120)
        connection.sendall(head + bytes(900_000))
        held.connections.append(connection)
    sizes = [0]
    while len(sizes) < 50 and (sizes[-1] < 10_000_000 or sizes[-1] != sizes[-2]):
        time.sleep(0.2)
        sizes.append(server.size_bytes())
    assert 10_000_000 <= max(sizes) <= 12_000_000
    status, answer = server.request("/clips", "POST", bytes(900_000), {"Content-Type": "application/octet-stream"})
    assert (status, "full" in json.loads(answer)["error"]) == (507, True)
    held.close()
    print(f"40 uploads of 0.9 MB at once: {max(sizes) / 1e6:.1f} MB kept, the others refused")


def crowd(server, clip, clients, slow):
    """Let clients localize a clip while slow uploads are open; return these uploads."""
    uploads = SlowUploads(server.port, slow)
    try:
        with ThreadPoolExecutor(clients) as pool:
            futures = [pool.submit(server.localize, clip) for _ in range(clients)]
            while not all(future.done() for future in futures):
                uploads.send()
                time.sleep(0.2)
        assert all(" " not in future.result() for future in futures), [future.result() for future in futures]
        tokens = {future.result() for future in futures}
        assert len(tokens) == clients
        assert all(server.request(f"/timeline/{token}/")[0] == 200 for token in tokens)
        return uploads
    except BaseException:
        uploads.close()
        raise


@pytest.fixture
def clip(mutations, tmp_path):
    mutations.write_clip(tmp_path / "clip.mp4", "libx264", "aac")
    return tmp_path / "clip.mp4"


def test_clients_beside_slow_uploads(server, clip):
    crowd(server, clip, clients=6, slow=30).close()
    print("6 clients beside 30 slow uploads: 6 timelines")


@pytest.mark.slow
def test_fifty_clients_beside_two_hundred_slow_uploads(server, clip):
    wait_until_empty(server)
    begin_s = time.monotonic()
    uploads = crowd(server, clip, clients=50, slow=200)
    served_s = time.monotonic() - begin_s
    while (ended := uploads.send()) < 200:
        assert time.monotonic() - begin_s < 90
        time.sleep(0.3)
    uploads.close()
    print(f"50 clients beside 200 slow uploads: 50 timelines in {served_s:.0f} s; {ended} slow uploads were given up")


@pytest.mark.slow
def test_silent_connections(server, clip):
    """More connections than the server takes, without a request: new ones take their places."""
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(950)]
    time.sleep(3)
    begin_s = time.monotonic()
    assert server.request("/")[0] == 200
    assert " " not in server.localize(clip)
    print(f"950 silent connections: a clip was localized beside them in {time.monotonic() - begin_s:.1f} s")
    for connection in connections:
        connection.close()


@pytest.mark.slow
def test_three_hundred_damaged_clips(make_server, mutated_clips, tmp_path):
    server = make_server(tmp_path, "--parallel", "2")
    outcomes = localize_all(server, mutated_clips(300))
    assert sum(outcomes.values()) == 300
    assert "Traceback" not in server.log.read_text()
    assert server.stop() == 0
    print("300 damaged clips:", outcomes)
