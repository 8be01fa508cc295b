"""Makes the videos of the page and remembers them.

One video is made at a time, and what a newer wish has overtaken is not made at all.
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

from tf_dvdgan import errors, generators, sampling, terminal
from tf_dvdgan.data import clip_files, video_io

FPS = 8.0
STEPS = 10  # from one sample to another
_REMEMBERED = 64  # videos
_SHOWN_SIDE = 256  # pixels at the least: colours of small H.264 videos are coarse


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """First frames of somebody's video.

    Attributes:
      name: of the file.
      start: which frame was the first.
      frames: `[num_conditioning_frames, height, width, 3]` uint8.
    """

    name: str
    start: int
    frames: np.ndarray


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a video is to be made of.

    Attributes:
      label: class number.
      seed: of the latent.
      truncation: factor of the latent.
      other_label: class number at the other end.
      other_seed: of the latent there.
      steps: how far towards the other end, of `STEPS`.
      clip: to start from; None for what the run kept.
    """

    label: int
    seed: int
    truncation: float
    other_label: int = 0
    other_seed: int = 0
    steps: int = 0
    clip: Clip | None = None


class Studio:
    """Makes one video at a time and remembers the latest.

    Args:
      generator: what makes them.
    """

    def __init__(self, generator: generators.Generator):
        self.generator = generator
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._made = functools.lru_cache(_REMEMBERED)(self._make)

    @property
    def knows_classes(self) -> bool:
        """Whether there are classes to choose from."""
        return len(self.generator.class_names) > 1

    async def video(
        self, wish: Wish, still_wanted: Callable[[], bool]
    ) -> np.ndarray | None:
        """Makes a video once those before it are done, if it is still wanted then.

        Args:
          wish: what of.
          still_wanted: asked when its turn comes.

        Returns:
          `[time, height, width, 3]` uint8, or None.

        Raises:
          UserError: the model starts from frames, and there are none.
        """

        def work():
            return self._made(wish) if still_wanted() else None

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def shown_facts(self, wish: Wish) -> list[tuple[str, str]]:
        """Names and values of what a video was made of, for a reader."""
        names = self.generator.class_names
        shown = [("Class", names[wish.label])] if self.knows_classes else []
        shown += [("Seed", str(wish.seed)), ("Truncation", f"{wish.truncation:g}")]
        if wish.steps:
            end = f"seed {wish.other_seed}"
            if self.knows_classes:
                end = f"{names[wish.other_label]}, {end}"
            shown.append(("On the way", f"{wish.steps / STEPS:.0%} to {end}"))
        if wish.clip:
            shown.append(("Clip", f"{wish.clip.name}, frame {wish.clip.start}"))
        return shown

    def facts(self, wish: Wish) -> dict:
        """The same for a file's metadata, with where the model comes from."""
        names = self.generator.class_names
        known = {
            "class": names[wish.label],
            "seed": wish.seed,
            "truncation": wish.truncation,
        }
        if wish.steps:
            known["towards"] = {
                "class": names[wish.other_label],
                "seed": wish.other_seed,
                "share": wish.steps / STEPS,
            }
        if wish.clip:
            known |= {"video": wish.clip.name, "start_frame": wish.clip.start}
        return self.generator.facts | known

    def file_of(self, video: np.ndarray, wish: Wish, kind: str) -> bytes:
        """A video as 'gif' or 'mp4', in the size it was made in, with its facts."""
        about = json.dumps(self.facts(wish))
        if kind == "gif":
            return video_io.gif_bytes(video, FPS, about)
        return video_io.video_bytes(video, ".mp4", FPS, about)

    def frames_of(self, name: str, data: bytes, start: int) -> np.ndarray:
        """Reads frames of an upload, which decoders want as a file.

        Raises:
          UserError: it is no video, or too short.
        """
        generator = self.generator
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "clip")
            pathlib.Path(path).write_bytes(data)
            try:
                return clip_files.read_frames(
                    path,
                    generator.num_conditioning_frames,
                    generator.stride,
                    start,
                    generator.resolution,
                )
            except errors.UserError as error:
                sentence = str(error).replace(path, terminal.printable(name))
                raise errors.UserError(sentence) from None

    def _make(self, wish: Wish) -> np.ndarray:
        one_hot = np.eye(len(self.generator.class_names), dtype=np.float32)
        z, other_z = (
            sampling.latents(self.generator.latent, 1, seed).numpy()
            for seed in (wish.seed, wish.other_seed)
        )
        z = sampling.interpolate(z, other_z, STEPS + 1)[:, wish.steps]
        ends = one_hot[[wish.label]], one_hot[[wish.other_label]]
        weights = sampling.interpolate(*ends, STEPS + 1)[:, wish.steps]
        frames = wish.clip.frames[np.newaxis] if wish.clip else None
        return self.generator.videos(z, weights, wish.truncation, frames)[0]


def enlarged(frames: np.ndarray) -> np.ndarray:
    """Small frames, so many times larger that a video of them keeps their colours."""
    scale = -(-_SHOWN_SIDE // frames.shape[1])
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)
