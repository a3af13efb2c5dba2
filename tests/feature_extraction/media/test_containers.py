from __future__ import annotations

import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import MediaError
from avloc.feature_extraction.media.containers import CLIP_FORMATS
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.probe import probe

SOUND = np.zeros(4800, np.float32)
PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile {}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "dash": '<?xml version="1.0"?><MPD type="static" mediaPresentationDuration="PT9S"><Period><AdaptationSet>'
    '<Representation id="1" mimeType="video/mp4" bandwidth="1"><BaseURL>{}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{}" width="9" height="9"/></svg>',
}


@pytest.mark.parametrize("suffix", [".mp4", ".ffconcat", ".m3u8", ".mpd", ".sdp", ".jpg"])
@pytest.mark.parametrize("kind", sorted(PLAYLISTS))
def test_a_playlist_does_not_open_the_file_beside_it(kind, suffix, tmp_path):
    write_mp4(tmp_path / "beside.mp4", None, SOUND)
    for target in ("beside.mp4", str(tmp_path / "beside.mp4"), (tmp_path / "beside.mp4").as_uri()):
        playlist = tmp_path / f"list{suffix}"
        playlist.write_text(PLAYLISTS[kind].format(target))
        with pytest.raises(MediaError, match="cannot be opened as media"):
            probe(playlist)


def test_the_refusal_names_the_cause(tmp_path):
    (tmp_path / "list.mp4").write_text(PLAYLISTS["ffconcat"].format("x.mp4"))
    with pytest.raises(
        MediaError, match=r"list\.mp4: cannot be opened as media \(invalid, or not a format of clips: playlists"
    ):
        probe(tmp_path / "list.mp4")


def test_a_picture_sequence_is_no_clip(tmp_path):
    (tmp_path / "0%3d.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "0001.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(MediaError, match="cannot be opened as media"):
        probe(tmp_path / "0%3d.png")


def test_the_same_file_is_a_clip(tmp_path):
    write_mp4(tmp_path / "beside.mp4", None, SOUND)
    assert decode(tmp_path / "beside.mp4").samples is not None


def test_every_format_is_one_that_ffmpeg_reads():
    av = pytest.importorskip("av")
    names = {name for names in av.formats_available for name in names.split(",")}
    assert names >= CLIP_FORMATS
    assert not {"concat", "hls", "dash", "sdp", "rtsp", "image2", "lavfi", "tty", "svg_pipe"} & CLIP_FORMATS
