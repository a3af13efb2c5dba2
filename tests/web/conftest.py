from __future__ import annotations

import http.client
import json
import threading
import time
from urllib.parse import quote

import numpy as np
import pytest

from avloc.core.proposals import Proposals
from avloc.core.timeline import TimeGrid
from avloc.datasets.synthetic.encode import write_mp4
from avloc.io.workers.supervision import InProcess
from avloc.localization.result import Localization
from avloc.web.app import create_app
from avloc.web.limits import UploadLimits
from avloc.web.localize_job import LocalizeJob
from avloc.web.receive import BODY_TYPE
from avloc.web.server import listen, make_server
from avloc.web.upload_queue import UploadQueue
from avloc.web.upload_store import UploadStore


class FakeLocalizer:
    """Finds one segment in every clip; reports these times as progress, raises this error, or waits for this event."""

    def __init__(self, times_s=(0.5, 1.0), error=None, released=None, description=None):
        self.times_s, self.error, self.released, self.description = times_s, error, released, description

    def localize(self, clip, *, span, preview, info, progress):
        assert preview
        assert span.longest_s >= info.duration_s
        for time_s in self.times_s:
            progress(time_s)
        if self.released is not None:
            assert self.released.wait(120)
        if self.error is not None:
            raise self.error
        proposals = Proposals(np.array([[0.2, 0.4]]), np.array([0.9]), np.array([[0.9, 0.1]]))
        return Localization(
            str(clip),
            1.0,
            proposals,
            TimeGrid(0.0, 0.5, 2),
            np.zeros((2, 2), np.float32),
            (f"{clip}: a problem",),
            unjudged={"visual": f"{clip}: no frame could be decoded"},
        )


@pytest.fixture
def make_localizer():
    return FakeLocalizer


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """The bytes of a clip of 1 s of silence."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_mp4(path, None, np.zeros(16_000, np.float32))
    return path.read_bytes()


@pytest.fixture
def make_queue(tmp_path):
    """Makes a queue whose jobs run in this process."""
    queues = []

    def make(localizer=None, make_workers=None, **limits):
        store = UploadStore(tmp_path / f"uploads {len(queues)}", UploadLimits(**limits))
        job = LocalizeJob(lambda pulse: localizer or FakeLocalizer(), store.limits, 0.2)
        queues.append(UploadQueue(store, make_workers or (lambda: InProcess(job))))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close()


class Site:
    """A server in this process, and requests to it."""

    def __init__(self, queue, receive_limits=None):
        self.queue, self.store = queue, queue.store
        self._listener = listen("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]
        self._server = make_server(create_app(queue, receive_limits, network="a network"))
        queue.start()
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()

    def request(self, path, method="GET", body=None, headers=()):
        """The status, the body and the headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(), {key.lower(): value for key, value in answer.getheaders()}
        finally:
            connection.close()

    def send(self, body, name="my clip.MP4", **headers):
        """Upload a clip; the status and the answer."""
        sent = {"Content-Type": BODY_TYPE, "X-Clip-Name": quote(name), **headers}
        status, answer, _ = self.request("/clips", "POST", body, sent)
        return status, json.loads(answer)

    def state(self, token):
        return json.loads(self.request(f"/clips/{token}")[1])

    def wait(self, token, states=("done", "failed")):
        """The state of a clip, once it is one of these."""
        for _ in range(15_000):  # 5 minutes
            if (state := self.state(token))["state"] in states:
                return state
            time.sleep(0.02)
        raise AssertionError(state)

    def stop(self):
        self._server.should_exit = True
        self._thread.join(120)
        self._listener.close()


@pytest.fixture
def make_site(make_queue):
    pytest.importorskip("uvicorn")
    sites = []

    def make(localizer=None, receive_limits=None, **limits):
        sites.append(Site(make_queue(localizer, **limits), receive_limits))
        return sites[-1]

    yield make
    for site in sites:
        site.stop()
