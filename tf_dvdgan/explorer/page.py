"""The explorer's page, built with NiceGUI, which serves all of its assets."""

import asyncio
import base64
import functools
import html
import logging
import pathlib
import random
import time

import numpy as np
from nicegui import events, ui

from tf_dvdgan import errors, generators
from tf_dvdgan.data import files, video_io
from tf_dvdgan.explorer import studio as studio_lib

LARGEST_UPLOAD = 100 * 2**20  # bytes
_LARGEST_SEED = 2**53  # whole numbers are exact in a browser up to here
_FILES = ".mp4,.m4v,.mov,.avi,.mkv,.webm,.mpg,.mpeg,.gif"
# With reduced motion, videos start only when the user starts them.
_PLAY = """(event) => {
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) event.target.play();
}"""
_STYLE = pathlib.Path(__file__).with_name("explorer.css")


class Page:
    """One open page.

    Args:
      studio: generates the videos; shared by all pages.
    """

    def __init__(self, studio: studio_lib.Studio):
        self._studio = studio
        self._generator = studio.generator
        self._request: studio_lib.VideoRequest | None = None
        self._shown: tuple[np.ndarray, studio_lib.VideoRequest] | None = None
        self._upload: tuple[str, bytes] | None = None
        self._clip: studio_lib.Clip | None = None
        ui.add_css(_STYLE)
        ui.colors(primary="#1a5a9e")
        self._draw_header()
        with ui.element("div").classes("columns"):
            with ui.element("section").props('aria-label="Video"').classes("viewer"):
                self._draw_viewer()
            with ui.element("section").props('aria-label="Controls"').classes("panel"):
                self._draw_controls()
        ui.timer(0.0, self._refresh, once=True)

    def _draw_header(self) -> None:
        generator = self._generator
        side, count = generator.resolution, len(generator.class_names)
        parts = [f"{side} x {side} pixels", f"{generator.num_frames} frames"]
        if self._studio.class_conditional:
            parts.append(f"{count} classes")
        with ui.element("header"):
            ui.label(generator.name).props("role=heading aria-level=1").classes("title")
            ui.label(" · ".join(parts)).classes("muted")

    def _draw_viewer(self) -> None:
        with ui.element("div").classes("screen"):
            self._video = ui.video("", muted=True, loop=True).props("playsinline")
            self._video.on("loadeddata", js_handler=_PLAY).set_visibility(False)
            self._progress = ui.linear_progress(show_value=False).props(
                'indeterminate aria-label="Generating the video" size=4px'
            )
        self._status = ui.label().props("role=status").classes("status muted")
        self._error = ui.label().props("role=alert").classes("error")
        self._error.set_visibility(False)
        self._metadata = ui.html(tag="dl").classes("metadata")
        with ui.element("div").classes("line") as self._downloads:
            for kind in ("MP4", "GIF"):
                ui.button(
                    kind,
                    icon="download",
                    on_click=functools.partial(self._download, kind.lower()),
                ).props(f'outline aria-label="Download as {kind}"')
        self._downloads.set_visibility(False)

    def _draw_controls(self) -> None:
        if self._generator.num_conditioning_frames:
            self._draw_upload()
        _heading("Sample")
        self._label = self._draw_class("Class", 0)
        self._seed = self._draw_seed("Seed", 0)
        self._truncation = self._draw_slider(
            "Truncation", 1.0, 0.05, "typical", "diverse"
        )
        target = "class and seed" if self._studio.class_conditional else "seed"
        self._interpolates = ui.switch(
            f"Interpolate to another {target}", on_change=self._refresh
        ).classes("interpolation")
        with ui.element("div").classes("group") as group:
            self._other_label = self._draw_class("End class", 1)
            self._other_seed = self._draw_seed("End seed", 1)
            self._position = self._draw_slider(
                "Position", 0.5, 1 / studio_lib.STEPS, "start", "end"
            )
        group.bind_visibility_from(self._interpolates, "value")

    def _draw_class(self, label: str, number: int) -> ui.select:
        names = dict(enumerate(self._generator.class_names))
        number = min(number, len(names) - 1)
        select = ui.select(
            names, label=label, value=number, with_input=True, on_change=self._refresh
        ).props("outlined options-dense")
        select.set_visibility(self._studio.class_conditional)
        return select

    def _draw_seed(self, label: str, value: int) -> ui.number:
        with ui.element("div").classes("line seed"):
            number = (
                ui.number(label, value=value, precision=0, validation=_number_error)
                .props("outlined debounce=300 hide-bottom-space")
                .on_value_change(self._refresh)
            )

            def randomize() -> None:
                number.value = random.randrange(10**6)

            ui.button(icon="casino", on_click=randomize).props(
                f'outline aria-label="{label}: randomize"'
            ).tooltip("Randomize")
        return number

    def _draw_slider(
        self, name: str, value: float, step: float, low: str, high: str
    ) -> ui.slider:
        """A slider with a number field, which is easier to use with a screen reader.

        Both generate a video when released, not while moved.
        """
        with ui.element("div").classes("slider"):
            with ui.element("div").classes("line apart"):
                ui.label(name)
                number = ui.number(
                    min=0.0, max=1.0, step=step, value=value, precision=2
                ).props(f'dense outlined aria-label="{name}"')
            slider = ui.slider(min=0.0, max=1.0, step=step, value=value).props(
                f'aria-label="{name}, slider"'
            )
            number.bind_value(slider)
            for control in (number, slider):
                control.on("change", self._refresh, args=[])
            with ui.element("div").classes("line apart muted small"):
                ui.label(low)
                ui.label(high)
        return slider

    def _draw_upload(self) -> None:
        count = self._generator.num_conditioning_frames
        _heading("Your own clip")
        frames = "its first frame" if count == 1 else f"{count} of its frames"
        ui.label(
            f"The model continues {frames}. Files of up to "
            f"{LARGEST_UPLOAD // 2**20} MB are accepted."
        ).classes("muted")
        self._uploader = (
            ui.upload(
                auto_upload=True,
                max_file_size=LARGEST_UPLOAD,
                on_upload=self._receive,
                on_rejected=self._reject,
            )
            .props(f"accept={_FILES}")
            .classes("upload")
        )
        with ui.element("div").classes("line"):
            # Browsers open the file dialog only in response to a user's click.
            ui.button("Choose a clip", icon="movie").props("outline no-caps").on(
                "click", js_handler=f"() => getElement({self._uploader.id}).pickFiles()"
            )
            self._start = ui.number(
                "First frame", value=0, min=0, precision=0, validation=_number_error
            ).props("outlined debounce=300 hide-bottom-space")
            self._start.on_value_change(self._read_clip)
        with ui.element("figure").classes("clip") as self._clip_figure:
            self._strip = ui.element("img")
            self._caption = ui.label().classes("muted small")
        self._clip_figure.set_visibility(False)

    async def _receive(self, event: events.UploadEventArguments) -> None:
        """Keeps the file while the page is open: the first frame may change."""
        self._upload = event.file.name, await event.file.read()
        self._uploader.reset()
        await self._read_clip()

    def _reject(self) -> None:
        kinds = _FILES.replace(".", " ").replace(",", ", ").strip()
        self._show_error(
            f"The file is larger than {LARGEST_UPLOAD // 2**20} MB, or not one of "
            f"these types: {kinds}."
        )

    async def _read_clip(self) -> None:
        if not self._upload or _number_error(self._start.value):
            return
        name, data = self._upload
        start = int(self._start.value)
        read = functools.partial(self._studio.read_frames, name, data, start)
        try:
            frames = await asyncio.to_thread(read)
        except errors.UserError as error:
            self._show_error(str(error))
            return
        self._clip = studio_lib.Clip(name, start, frames)
        strip = np.concatenate(list(studio_lib.enlarged(frames)), axis=1)
        self._strip.props["src"] = _data_url("image/png", video_io.encode_png(strip))
        self._strip.props["alt"] = f"{len(frames)} conditioning frames."
        self._caption.text = f"{name}, from frame {start}"
        self._clip_figure.set_visibility(True)
        await self._refresh()

    async def _refresh(self) -> None:
        """Generates and shows the video that the controls describe."""
        request = self._read_controls()
        if request is None or request == self._request:
            return
        self._request = request
        self._progress.set_visibility(True)
        self._status.text = "Generating the video … (a new truncation takes longer)"
        began = time.monotonic()
        try:
            video = await self._studio.video(request, lambda: request is self._request)
        except errors.UserError as error:
            self._fail(request, _error_message(error, request, self._generator))
        except Exception:
            logging.exception("video generation failed")
            self._fail(
                request,
                "The video could not be generated; the terminal shows the error.",
            )
        else:
            if video is not None and request is self._request:
                self._show(video, request, time.monotonic() - began)

    def _read_controls(self) -> studio_lib.VideoRequest | None:
        """The request in the controls; None if one of them is empty or invalid."""
        seeds = [self._seed.value]
        if self._interpolates.value:
            seeds.append(self._other_seed.value)
        labels = self._label.value, self._other_label.value
        factors = self._truncation.value, self._position.value
        if None in labels + factors or any(map(_number_error, seeds)):
            return None
        end = {}
        if self._interpolates.value:
            end = {
                "other_label": labels[1],
                "other_seed": int(self._other_seed.value),
                "steps": round(self._position.value * studio_lib.STEPS),
            }
        return studio_lib.VideoRequest(
            labels[0],
            int(self._seed.value),
            round(self._truncation.value, 2),
            **end,
            clip=self._clip,
        )

    def _show(
        self, video: np.ndarray, request: studio_lib.VideoRequest, seconds: float
    ) -> None:
        shown = self._studio.describe(request)
        data = video_io.encode_video(studio_lib.enlarged(video), ".mp4", studio_lib.FPS)
        self._shown = video, request
        self._video.set_source(_data_url("video/mp4", data))
        description = ", ".join(f"{name} {value}" for name, value in shown)
        self._video.props["aria-label"] = f"Generated video: {description}"
        self._video.set_visibility(True)
        self._downloads.set_visibility(True)
        self._metadata.content = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
            for name, value in shown
        )
        self._progress.set_visibility(False)
        self._error.set_visibility(False)
        self._status.text = f"Generated in {seconds:.2f} s"

    def _fail(self, request: studio_lib.VideoRequest, message: str) -> None:
        if request is not self._request:
            return
        self._request = None  # so that the same request can be retried
        self._progress.set_visibility(False)
        self._status.text = ""
        self._show_error(message)

    def _show_error(self, message: str) -> None:
        self._error.text = message
        self._error.set_visibility(True)

    def _download(self, kind: str) -> None:
        """Downloads the video that is shown, in its original size."""
        if self._shown is None:  # the buttons are hidden until there is a video
            return
        video, request = self._shown
        data = self._studio.encode(video, request, kind)
        name = files.safe_name(self._generator.class_names[request.label])
        ui.download(data, f"{name}-{request.seed}.{kind}")


def _heading(text: str) -> None:
    ui.label(text).props("role=heading aria-level=2").classes("heading")


def _number_error(value: float | None) -> str | None:
    """Error message for a number field; None if the number is valid."""
    if value is None or value != int(value) or not 0 <= value <= _LARGEST_SEED:
        return "Enter a whole number, 0 or greater."
    return None


def _error_message(
    error: errors.UserError,
    request: studio_lib.VideoRequest,
    generator: generators.Generator,
) -> str:
    if generator.num_conditioning_frames and not request.clip:
        return "This model needs conditioning frames: choose a clip."
    return str(error)


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
