"""Captions are wrapped and shortened."""

import pytest

from tf_dvdgan import text_drawing


@pytest.mark.parametrize(
    ("caption", "lines"),
    [
        ("RoundCircle", ["RoundCircle"]),
        ("HorizontalTriangle", ["Horizontal", "Triangle"]),
        ("playing basketball", ["playing", "basketball"]),
    ],
)
def test_captions_break_where_words_end(caption, lines):
    assert text_drawing.wrap(caption, 72) == lines


@pytest.mark.parametrize("caption", ["Donaudampfschiffahrt", "one two three " * 5])
def test_captions_that_are_too_long_end_in_dots(caption):
    lines = text_drawing.wrap(caption, 72)
    assert len(lines) <= 3 and lines[-1].endswith("…")
    assert all(text_drawing.font().getlength(line) <= 72 for line in lines)
