"""The form of the web page, in Gradio: upload or record a clip, start, see the progress and the timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.errors import AvlocError

if TYPE_CHECKING:
    import gradio as gr

    from avloc.web.upload_localizer import UploadLimits, UploadLocalizer

INTRODUCTION = """# Which seconds are fake?

Upload a clip, or record one. Its audio and visual streams are searched for forged segments. A score is no proof: it tells how
much a segment resembles the forgeries that the network was trained on."""


def build_form(worker: UploadLocalizer, limits: UploadLimits) -> gr.Blocks:
    """Build the form.

    Args:
        worker: localizes the uploads.
        limits: the limits that the form states, and that its queue keeps.
    """
    import gradio as gr

    with gr.Blocks(title="avloc", analytics_enabled=False, delete_cache=(60, int(limits.keep_s) + 60)) as form:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Upload"):
            label = f"A clip, up to {limits.max_megabytes} MB and {limits.max_minutes:.0f} minutes"
            upload = gr.File(label=label, height=160)
            start_upload = gr.Button("Localize", variant="primary")
        with gr.Tab("Record"):
            # Without mirroring, which would need the FFmpeg program and encode the recording again.
            camera = gr.WebcamOptions(mirror=False)
            recording = gr.Video(sources=["webcam"], include_audio=True, webcam_options=camera, label="A recording")
            start_recording = gr.Button("Localize the recording", variant="primary")
        timeline = gr.HTML(label="Timeline")

        def localize(path: str | None, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008 - Gradio's convention
            try:
                return worker.localize(path, lambda fraction, text: progress(fraction, desc=text))
            except AvlocError as error:
                raise gr.Error(str(error), duration=None, print_exception=False) from error

        for button, source in ((start_upload, upload), (start_recording, recording)):
            button.click(
                localize,
                source,
                timeline,
                concurrency_limit=limits.concurrency,
                concurrency_id="localize",
                api_name="localize" if source is upload else None,
            )
    form.queue(max_size=limits.queue_size, default_concurrency_limit=limits.concurrency)
    return form
