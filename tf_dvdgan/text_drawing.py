"""Draws the names and captions of videos."""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tf_dvdgan import terminal

BACKGROUND = 24
_FONT_SIZE = 12
_LINE_HEIGHT = 14
_MAX_LINES = 3  # of a caption
_MAX_NAME = 40  # characters
_TEXT = (235, 235, 235)


def short_name(name: str) -> str:
    """Makes a name from the data printable and shortens it to 40 characters."""
    name = terminal.printable(name)
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"


def margin(names: Sequence[str]) -> int:
    """Returns the width of the longest name in pixels, with space; 0 without names."""
    if not names:
        return 0
    return round(max(font().getlength(name) for name in names)) + 12


def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns the font of names and captions."""
    return ImageFont.load_default(size=_FONT_SIZE)


def write_names(image: np.ndarray, names: Sequence[str], row: int) -> np.ndarray:
    """Writes the names of rows on the left of an image.

    Args:
      image: `[height, width, 3]` uint8.
      names: the names, top to bottom.
      row: height of a row.

    Returns:
      `[height, width, 3]` uint8, a copy of the image with the names.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for i, name in enumerate(names):
        draw.text((6, i * row + row // 2), name, _TEXT, font(), anchor="lm")
    return np.asarray(picture)


def caption_strips(captions: Sequence[str], width: int) -> np.ndarray:
    """Draws captions as images of one height.

    Args:
      captions: the captions, wrapped and shortened to at most three lines.
      width: width of the images.

    Returns:
      `[count, height, width, 3]` uint8.
    """
    texts = [wrap(short_name(caption), width) for caption in captions]
    height = _LINE_HEIGHT * max(map(len, texts)) + 4
    pictures = []
    for lines in texts:
        picture = Image.new("RGB", (width, height), (BACKGROUND,) * 3)
        draw = ImageDraw.Draw(picture)
        for i, line in enumerate(reversed(lines)):  # aligned at the bottom
            middle = height - 2 - _LINE_HEIGHT * i - _LINE_HEIGHT // 2
            draw.text((width // 2, middle), line, _TEXT, font(), anchor="mm")
        pictures.append(np.asarray(picture))
    return np.stack(pictures)


def wrap(text: str, width: int) -> list[str]:
    """Wraps a text to `width` pixels after spaces and dashes and before capitals.

    Args:
      text: the text.
      width: maximum width of a line in pixels.

    Returns:
      At most three lines; a longer one ends with "…".
    """
    drawn, lines = font(), [""]
    for piece in re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[\s_-])", text):
        if lines[-1] and drawn.getlength(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], "".join(lines[_MAX_LINES - 1 :])]
    return [_cut(line.rstrip(), width) for line in lines]


def _cut(line: str, width: int) -> str:
    """Truncates a line to `width` pixels."""
    drawn = font()
    if drawn.getlength(line) <= width:
        return line
    while line and drawn.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"
