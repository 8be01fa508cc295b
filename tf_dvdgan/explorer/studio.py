"""Generates and caches the videos of the page.

One video is generated at a time; requests that a newer one has replaced are skipped.
"""

import asyncio
import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import tempfile
from collections.abc import Callable

import numpy as np

from tf_dvdgan import errors, generators, terminal
from tf_dvdgan.data import clip_files, video_io, video_process
from tf_dvdgan.sampling import latents

FPS = 8.0
STEPS = 10  # of an interpolation from one sample to another
_CACHE_SIZE = 64  # videos
_MIN_SHOWN_SIDE = 256  # pixels: H.264 subsamples colors, which shows in small videos


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """Conditioning frames of an uploaded video.

    Attributes:
      name: name of the file.
      start: index of the first frame in the file.
      frames: `[num_conditioning_frames, height, width, 3]` uint8.
    """

    name: str
    start: int
    frames: np.ndarray


@dataclasses.dataclass(frozen=True)
class VideoRequest:
    """A request for a video.

    Attributes:
      label: class number.
      seed: seed of the latent.
      truncation: factor of the latent.
      other_label: class number at the end of the interpolation.
      other_seed: seed of the latent at the end of the interpolation.
      steps: position in the interpolation, from 0 to `STEPS`.
      clip: conditioning frames; None for those stored with the run.
    """

    label: int
    seed: int
    truncation: float
    other_label: int = 0
    other_seed: int = 0
    steps: int = 0
    clip: Clip | None = None


class Studio:
    """Generates one video at a time and caches the latest.

    Args:
      generator: generates the videos.
    """

    def __init__(self, generator: generators.Generator):
        self.generator = generator
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._readers: set[video_process.Reader] = set()
        self._cached_video = functools.lru_cache(_CACHE_SIZE)(self._generate)

    @property
    def class_conditional(self) -> bool:
        """Whether there are classes to choose from."""
        return len(self.generator.class_names) > 1

    async def video(
        self, request: VideoRequest, is_current: Callable[[], bool]
    ) -> np.ndarray | None:
        """Generates a video after those requested before it.

        Args:
          request: the request.
          is_current: called when it is this video's turn; if it returns False, the
            request is skipped.

        Returns:
          `[time, height, width, 3]` uint8; None if skipped.

        Raises:
          UserError: the model needs conditioning frames, and the run stored none.
        """

        def work():
            return self._cached_video(request) if is_current() else None

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def describe(self, request: VideoRequest) -> list[tuple[str, str]]:
        """Names and values of a request's parameters, for the page."""
        names = self.generator.class_names
        shown = [("Class", names[request.label])] if self.class_conditional else []
        shown += [
            ("Seed", str(request.seed)),
            ("Truncation", f"{request.truncation:g}"),
        ]
        if request.steps:
            end = f"seed {request.other_seed}"
            if self.class_conditional:
                end = f"{names[request.other_label]}, {end}"
            shown.append(("Interpolation", f"{request.steps / STEPS:.0%} to {end}"))
        if request.clip:
            shown.append(("Clip", f"{request.clip.name}, frame {request.clip.start}"))
        return shown

    def metadata(self, request: VideoRequest) -> dict:
        """A request's parameters and the model's origin, for a file's metadata."""
        names = self.generator.class_names
        known = {
            "class": names[request.label],
            "seed": request.seed,
            "truncation": request.truncation,
        }
        if request.steps:
            known["towards"] = {
                "class": names[request.other_label],
                "seed": request.other_seed,
                "share": request.steps / STEPS,
            }
        if request.clip:
            known |= {"video": request.clip.name, "start_frame": request.clip.start}
        return self.generator.metadata | known

    def encode(self, video: np.ndarray, request: VideoRequest, kind: str) -> bytes:
        """Encodes a video in its original size, with the parameters as metadata.

        Args:
          video: `[time, height, width, 3]` uint8.
          request: the request that it was generated for.
          kind: 'gif' or 'mp4'.

        Returns:
          The file's contents.
        """
        comment = json.dumps(self.metadata(request))
        if kind == "gif":
            return video_io.encode_gif(video, FPS, comment)
        return video_io.encode_video(video, ".mp4", FPS, comment)

    def read_frames(self, name: str, data: bytes, start: int) -> np.ndarray:
        """Reads the conditioning frames from an uploaded video.

        Args:
          name: the file's name, for error messages.
          data: the file's contents.
          start: index of the first frame to read.

        Returns:
          `[num_conditioning_frames, height, width, 3]` uint8, model resolution.

        Raises:
          UserError: the file is not a video, or too short.
        """
        generator = self.generator
        with tempfile.TemporaryDirectory() as folder:  # decoders need a path
            path = os.path.join(folder, "clip")
            pathlib.Path(path).write_bytes(data)
            reader = video_process.Reader()
            self._readers.add(reader)
            try:
                return clip_files.read_frames(
                    path,
                    generator.num_conditioning_frames,
                    generator.stride,
                    start,
                    generator.resolution,
                    reader,
                )
            except errors.UserError as error:
                message = str(error).replace(path, terminal.printable(name))
                raise errors.UserError(message) from None
            finally:
                self._readers.discard(reader)
                reader.close()

    def stop(self) -> None:
        """Ends the reading of uploads, which the process would wait for at its end."""
        for reader in list(self._readers):
            reader.close()

    def _generate(self, request: VideoRequest) -> np.ndarray:
        one_hot = np.eye(len(self.generator.class_names), dtype=np.float32)
        z, other_z = (
            latents.draw(self.generator.latent, 1, seed).numpy()
            for seed in (request.seed, request.other_seed)
        )
        z = latents.interpolate(z, other_z, STEPS + 1)[:, request.steps]
        ends = one_hot[[request.label]], one_hot[[request.other_label]]
        weights = latents.interpolate(*ends, STEPS + 1)[:, request.steps]
        frames = request.clip.frames[np.newaxis] if request.clip else None
        return self.generator.videos(z, weights, request.truncation, frames)[0]


def enlarged(frames: np.ndarray) -> np.ndarray:
    """Enlarges small frames by a whole factor, so that H.264 keeps their colors.

    Args:
      frames: `[time, height, width, 3]` uint8.

    Returns:
      `[time, factor * height, factor * width, 3]` uint8, at least 256 pixels high.
    """
    scale = -(-_MIN_SHOWN_SIDE // frames.shape[1])
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)
