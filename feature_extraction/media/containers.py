"""The formats of clips: files that hold audio and video themselves.

FFmpeg also opens playlists (ffconcat, HLS, DASH, SDP), picture sequences and scripts. These name other files and addresses, so a
file from a stranger would choose what this machine reads. Only the listed formats are opened, and only from local files.
"""

from __future__ import annotations

# Names of FFmpeg's demuxers.
VIDEO_FORMATS = (
    "mov mp4 m4a 3gp 3g2 mj2 matroska webm avi mpeg mpegts mpegvideo m4v h261 h263 h264 hevc vvc av1 obu ivf vc1 flv asf ogg mxf "
    "dv gif apng mjpeg nut nsv rm wtv swf gxf yuv4mpegpipe"
)
AUDIO_FORMATS = (
    "wav w64 aiff au caf flac mp3 aac ac3 eac3 dts dtshd truehd mlp amr amrnb amrwb gsm g722 g723_1 g726 g729 ape mpc "
    "mpc8 tta wv tak shn loas qcp adx oma voc sln"
)
CLIP_FORMATS = frozenset(f"{VIDEO_FORMATS} {AUDIO_FORMATS}".split())
OPENING_OPTIONS = {"format_whitelist": ",".join(sorted(CLIP_FORMATS)), "protocol_whitelist": "file"}
"""FFmpeg's options for opening a clip."""
