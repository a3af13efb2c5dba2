"""The form is built in a process of its own: Gradio leaves event loops and sockets open."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json
import gradio
from avloc.errors import AvlocError
from avloc.web.form import build_form
from avloc.web.upload_localizer import UploadLimits

class Worker:
    def localize(self, path, progress):
        progress(0.5, "half")
        if path is None:
            raise AvlocError("Choose a clip first.")
        return f"timeline of {path}"

limits = UploadLimits(max_megabytes=7, max_duration_s=150.0, queue_size=3, concurrency=2)
form = build_form(Worker(), limits)
functions = list(form.fns.values())
try:
    functions[0].fn(None)
except gradio.Error as error:
    message = error.message
print(json.dumps({
    "labels": [getattr(block, "label", None) for block in form.blocks.values()],
    "concurrency": [function.concurrency_limit for function in functions],
    "api_name": functions[0].api_name,
    "answers": [function.fn("x.mp4") for function in functions],
    "message": message,
    "queue": form._queue.max_size,
}))
"""


@pytest.fixture(scope="module")
def form():
    pytest.importorskip("gradio")
    process = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, check=True)
    return json.loads(process.stdout.splitlines()[-1])


def test_the_form_states_its_limits(form):
    assert "A clip, up to 7 MB and 2 minutes" in form["labels"]
    assert form["queue"] == 3


def test_both_buttons_localize(form):
    assert form["answers"] == ["timeline of x.mp4"] * 2
    assert form["concurrency"] == [2, 2]
    assert form["api_name"] == "localize"


def test_an_error_is_shown_to_the_visitor(form):
    assert form["message"] == "Choose a clip first."
