from __future__ import annotations

from pathlib import Path

import pytest

from avloc.cli.arguments.localizer import add_localizer_options, pop_localizer_settings
from avloc.cli.arguments.parser import parser
from avloc.errors import AvlocError
from avloc.inference.settings import LocalizerSettings
from avloc.models.packaged import packaged_description


def test_localizer_options(tmp_path):
    (tmp_path / "c.ckpt").touch()
    options = parser("serve", "avloc serve")
    add_localizer_options(options)
    namespace = options.parse_args(["--checkpoint", str(tmp_path / "c.ckpt"), "--weights", "a=b=c", "--device", "cuda"])
    localizer = pop_localizer_settings(namespace)
    assert localizer == LocalizerSettings(tmp_path / "c.ckpt", weights={"a": Path("b=c")}, device="cuda")
    assert vars(namespace) == {}
    with pytest.raises(AvlocError, match="want NAME=FILE, got 'a'"):
        options.parse_args(["--checkpoint", str(tmp_path / "c.ckpt"), "--weights", "a"])


@pytest.mark.parametrize(
    ("verb", "default"),
    [
        ("localize", "the streams that a clip has"),
        ("serve", "the streams that a clip has"),
        ("predict", "both for all clips, also for those that lack a stream"),
    ],
)
def test_the_help_tells_the_networks_and_the_default_of_streams(verb, default, verb_parsers):
    ((_, options),) = verb_parsers(verb)
    texts = {action.dest: action.help for action in options._actions}
    assert texts["streams"].endswith(f"(default: {default})")
    assert packaged_description().scope in texts["checkpoint"]
