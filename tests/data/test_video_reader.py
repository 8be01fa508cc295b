"""Videos as their containers mean them: colors, shape, times; broken ones refused."""

import os
import pathlib
import struct
import types
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image, WebPImagePlugin

from tf_dvdgan.data import video_filters, video_io, video_reader

# Luma's weights of red and blue by FFmpeg's number of the matrix (ITU-T H.273).
MATRICES = {
    "BT.709": (1, 0.2126, 0.0722),
    "FCC": (4, 0.30, 0.11),
    "BT.470": (5, 0.299, 0.114),
    "BT.601": (6, 0.299, 0.114),
    "SMPTE 240M": (7, 0.212, 0.087),
    "BT.2020": (9, 0.2627, 0.0593),
}
LIMITED, FULL = 1, 2
PATCHES = np.uint8(
    [[200, 50, 50], [50, 200, 50], [40, 60, 210], [128, 128, 128], [20, 230, 220]]
)


def read(path, *args, **kwargs):
    return np.stack(list(video_reader.VideoReader(str(path), *args, **kwargs)))


def smooth(count=10, height=96, width=128):
    """Waves that move; neither colors nor sizes of blocks make a difference there."""
    y, x = np.mgrid[:height, :width]
    waves = [
        np.stack([np.sin(x / 17 + t / 3), np.cos(y / 13 - t / 4), np.sin((x + y) / 23)])
        for t in range(count)
    ]
    return np.uint8(127.5 + 90 * np.stack(waves).transpose(0, 2, 3, 1))


def encode(
    path, video, codec, pix_fmt="yuv420p", matrix=0, color_range=0, options=(), **attrs
):
    """Writes a video with FFmpeg's encoder, and what it says of its colors."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=attrs.pop("rate", 25))
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.options = dict(options)
        context = stream.codec_context
        context.bit_rate = 20_000_000
        if matrix:
            context.colorspace = matrix
        if color_range:
            context.color_range = color_range
        for name, value in attrs.items():
            setattr(stream.codec_context, name, value)
        for number, image in enumerate(video):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame = frame.reformat(
                format=pix_fmt,
                dst_colorspace=matrix or None,
                dst_color_range=color_range or None,
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def shown_by_ffmpeg(path):
    """Frames as FFmpeg's own filters convert them."""
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(template=stream),
            graph.add("scale"),
            graph.add("format", "pix_fmts=rgb24"),
            graph.add("buffersink"),
        ).configure()
        for frame in container.decode(stream):
            graph.push(frame)
            images.append(graph.vpull().to_ndarray())
    return np.stack(images)


@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colors_are_those_of_the_matrix_and_the_range(tmp_path, matrix, color_range):
    number, red, blue = MATRICES[matrix]
    rgb = PATCHES / 255
    luma = rgb @ [red, 1 - red - blue, blue]
    chroma = [
        (rgb[:, 2] - luma) / 2 / (1 - blue),
        (rgb[:, 0] - luma) / 2 / (1 - red),
    ]
    if color_range == LIMITED:
        planes = [16 + 219 * luma, *(128 + 224 * plane for plane in chroma)]
    else:
        planes = [255 * luma, *(128 + 255 * plane for plane in chroma)]
    size = 16  # of a patch
    yuv = np.round(planes).clip(0, 255).astype(np.uint8).repeat(size, axis=1)
    yuv = np.repeat(yuv[:, None], size, axis=1)
    path = str(tmp_path / "patches.mkv")
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *yuv.shape[1:], "yuv444p"
        stream.codec_context.colorspace = number
        stream.codec_context.color_range = color_range
        for time in range(3):
            frame = av.VideoFrame.from_ndarray(yuv, "yuv444p", channel_last=False)
            frame.colorspace, frame.color_range, frame.pts = number, color_range, time
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = read(path)[0][size // 2, size // 2 :: size]
    assert np.abs(found.astype(int) - PATCHES).max() <= 2


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mp4", "libx264", "yuv422p"),
        ("a.mp4", "libx264", "yuv444p10le"),
        ("a.mp4", "libx265", "yuv420p"),
        ("a.mp4", "libx265", "yuv420p10le"),
        ("a.mp4", "libx265", "gbrp"),
        ("a.mp4", "libsvtav1", "yuv420p"),
        ("a.mp4", "libsvtav1", "yuv420p10le"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv444p"),
        ("a.webm", "libvpx-vp9", "gbrp"),
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mov", "qtrle", "argb"),
        ("a.mov", "png", "rgb48be"),
        ("a.mkv", "ffv1", "yuv420p16le"),
        ("a.mkv", "ffv1", "bgra"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj422p"),
        ("a.avi", "huffyuv", "rgb24"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.ts", "mpeg2video", "yuv420p"),
        ("a.mxf", "mpeg2video", "yuv422p"),
        ("a.mxf", "dnxhd", "yuv422p10le"),
        ("a.nut", "libx264", "yuv420p"),
        ("a.y4m", "rawvideo", "yuv444p"),
        ("a.h264", "libx264", "yuv420p"),
        ("a.hevc", "libx265", "yuv420p"),
        ("a.ivf", "libsvtav1", "yuv420p"),
        ("a.wmv", "wmv2", "yuv420p"),
        ("a.flv", "flv", "yuv420p"),
        ("a.apng", "apng", "rgba"),
        ("a.3gp", "mpeg4", "yuv420p"),
    ],
)
@pytest.mark.parametrize(("matrix", "color_range"), [(0, 0), (1, LIMITED), (6, FULL)])
def test_pixels_are_ffmpegs(tmp_path, name, codec, pix_fmt, matrix, color_range):
    is_rgb = pix_fmt.startswith(("gbr", "bgr", "rgb", "argb"))
    if matrix and (is_rgb or (codec == "mjpeg" and color_range == LIMITED)):
        pytest.skip("such a stream does not exist")
    size = (1280, 720) if codec == "dnxhd" else (128, 96)
    video = smooth(6, size[1], size[0])
    rates = {"mpeg2video": 25, "dnxhd": 25}
    options = {"profile": "dnxhr_hqx"} if codec == "dnxhd" else {}
    encode(
        tmp_path / name,
        video,
        codec,
        pix_fmt,
        matrix,
        color_range,
        options,
        rate=rates.get(codec, 25),
    )
    expected, found = shown_by_ffmpeg(tmp_path / name), read(tmp_path / name)
    assert len(found) == len(video)
    assert np.abs(found.astype(int) - expected).max() <= 2
    if matrix != 6:  # not every codec has a place for it
        assert np.abs(found.astype(int) - video).mean() < 8


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, [40, 96, 96, 3], np.uint8)
    whole, cut = str(tmp_path / f"whole.{suffix}"), str(tmp_path / f"cut.{suffix}")
    video_io.write_video(whole, noise, fps=25.0)
    data = open(whole, "rb").read()
    with open(cut, "wb") as file:
        file.write(data[: int(len(data) * share)])
    with pytest.raises(video_io.VideoError):
        list(video_reader.VideoReader(cut))


def muxed(path, frames, times=None, keep_start=False):
    """Writes H.264 or MPEG-4 frames at times in ticks of 1/25 s; some below zero."""
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(path, "w", options=options if keep_start else {}) as container:
        codec = "mpeg4" if path.endswith("avi") else "libx264"
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.codec_context.max_b_frames = "yuv420p", 0
        for time, frame in zip(times, frames, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def test_a_clip_that_was_cut_out_shows_what_is_to_be_shown(tmp_path):
    frames = np.full([40, 48, 64, 3], 128, np.uint8)
    frames[:10] = 0  # there only so that the others can be decoded
    path = str(tmp_path / "cut_out.mp4")
    muxed(path, frames, range(-10, 30), keep_start=True)
    read = np.stack(list(video_reader.VideoReader(path)))
    assert len(read) == 30 and read.min() > 100


def test_pauses_in_an_avi_are_no_missing_frames(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, [24, 48, 64, 3], np.uint8)
    path = str(tmp_path / "pauses.avi")
    muxed(path, frames, range(0, 96, 4))
    assert len(list(video_reader.VideoReader(path))) == 24
    os.truncate(path, os.path.getsize(path) * 2 // 3)
    with pytest.raises(video_io.VideoError, match="truncated: 11 of 93"):
        list(video_reader.VideoReader(path))


def test_a_truncated_file_without_a_count_is_refused(tmp_path):
    path = str(tmp_path / "clip.mkv")
    frames = np.random.default_rng(0).integers(0, 255, [40, 48, 64, 3], np.uint8)
    muxed(path, frames, range(40))
    assert len(list(video_reader.VideoReader(path))) == 40
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(video_io.VideoError, match="truncated: 0"):
        list(video_reader.VideoReader(path))


def test_a_text_is_neither_a_video_nor_a_list_of_files(tmp_path):
    video_io.write_video(str(tmp_path / "clip.mp4"), smooth())
    path = tmp_path / "readme.txt"
    for text in ("plain text\n" * 99, "ffconcat version 1.0\nfile clip.mp4\n"):
        path.write_text(text)
        with pytest.raises(video_io.VideoError, match="not a video"):
            video_reader.VideoReader(str(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty file"), (b"plain text\n" * 99, "not a video")],
)
def test_what_is_no_video_is_refused(tmp_path, content, reason):
    path = tmp_path / "x.avi"
    path.write_bytes(content)
    with pytest.raises(video_io.VideoError, match=reason):
        video_reader.VideoReader(str(path))


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.avi"):
        with pytest.raises(video_io.VideoError, match="not a file"):
            video_reader.VideoReader(str(path))


@pytest.mark.parametrize(
    ("ratio", "shape"),
    [
        (Fraction(4, 3), (96, 171)),
        (Fraction(1, 2), (96, 64)),
        (Fraction(200, 1), (96, 128)),  # a mistake
    ],
)
def test_pixels_become_square(tmp_path, ratio, shape):
    path, video = tmp_path / "a.mp4", smooth(3)
    encode(path, video, "libx264", sample_aspect_ratio=ratio)
    reader = video_reader.VideoReader(str(path))
    found = np.stack(list(reader))
    assert (reader.height, reader.width) == found.shape[1:3] == shape
    expected = cv2.resize(video[2], shape[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(found[2].astype(int) - expected).mean() < 4
    small = read(path, 32)
    assert small.shape[1:3] == video_io.size_of_smallest_side(*shape, 32)


# Of an mp4's matrix (a, b, c, d), and the same done to an image.
SHOWN = {
    "as it is": ((1, 0, 0, 1), lambda image: image),
    "turned right": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "turned left": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "upside down": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda image: image[::-1]),
    "transposed": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
}


@pytest.mark.parametrize("how", SHOWN)
def test_videos_are_upright(tmp_path, how):
    (a, b, c, d), turn = SHOWN[how]
    path, video = tmp_path / "a.mp4", smooth(3)
    encode(path, video, "libx264", sample_aspect_ratio=Fraction(3, 2))
    data, one = path.read_bytes(), 1 << 16
    at = data.index(b"tkhd") + 4 + 40
    numbers = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:at] + struct.pack(">9i", *numbers) + data[at + 36 :])
    reader = video_reader.VideoReader(str(path))
    found = np.stack(list(reader))
    wide = cv2.resize(video[1], (192, 96), interpolation=cv2.INTER_LINEAR)
    expected = turn(wide)
    assert (reader.height, reader.width) == found.shape[1:3] == expected.shape[:2]
    assert np.abs(found[1].astype(int) - expected).mean() < 4


def interlaced(path, codec, pix_fmt, size, **attrs):
    """A square that moves 4 pixels between the two fields of each frame."""
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        stream.codec_context.bit_rate = 20_000_000
        stream.options = attrs
        for t in range(8):
            image = np.full([height, width, 3], 40, np.uint8)
            for field in (0, 1):
                left = 20 + 4 * (2 * t + field)
                image[field::2, left : left + height // 2] = 210
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = t, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def combs(video):
    """Share of pixels that differ from both rows beside them, which are alike."""
    gray = video.astype(int).mean(-1)
    above, here, below = gray[:, :-2], gray[:, 1:-1], gray[:, 2:]
    differs = np.minimum(abs(here - above), abs(here - below)) > 40
    return (differs & (abs(above - below) < 20)).mean()


def test_fields_become_frames(tmp_path):
    interlaced(
        tmp_path / "a.mp4",
        "libx264",
        "yuv420p",
        (96, 128),
        **{"x264-params": "interlaced=1:tff=1"},
    )
    interlaced(tmp_path / "a.dv", "dvvideo", "yuv420p", (576, 720))
    for name in ("a.mp4", "a.dv"):
        path = tmp_path / name
        found = read(path)
        assert len(found) == 8
        assert combs(shown_by_ffmpeg(path)) > 0.005  # there are some to remove
        assert combs(found) < 0.1 * combs(shown_by_ffmpeg(path))


def test_a_cover_is_not_the_video(tmp_path):
    path, video = tmp_path / "a.mkv", smooth(8)
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = 300, 300, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        picture = np.full([300, 300, 3], 200, np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        for number, image in enumerate(video):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(cover.encode())
        container.mux(stream.encode())
    found = read(path)
    assert found.shape == video.shape
    assert np.abs(found.astype(int) - video).mean() < 4


def test_a_stream_whose_size_changes_is_refused(tmp_path):
    path = tmp_path / "a.h264"
    encode(path, smooth(6), "libx264")
    with open(path, "ab") as file:
        encode(tmp_path / "b.h264", smooth(6, 64, 64), "libx264")
        file.write((tmp_path / "b.h264").read_bytes())
    with pytest.raises(video_io.VideoError, match="frames of different sizes"):
        read(path)


def pictures(levels=range(10, 210, 10)):
    return [Image.fromarray(np.full([24, 32, 3], level, np.uint8)) for level in levels]


@pytest.mark.parametrize(
    ("delays", "count", "fps"),
    [
        ([10] + [100] * 19, 20, 10.0),
        ([20] + [60_000] * 19, 20, 1 / 60),
        ([100] * 19 + [5_000], 20, 10.0),  # stands still at its end
        ([40] * 10 + [80] * 4 + [40] * 6, 24, 25.0),
        ([0] * 20, 20, 10.0),
    ],
)
def test_one_odd_delay_does_not_repeat_a_gifs_frames(tmp_path, delays, count, fps):
    path = str(tmp_path / "a.gif")
    first, *rest = pictures()
    first.save(path, save_all=True, append_images=rest, duration=delays)
    reader = video_reader.VideoReader(path)
    found = np.stack(list(reader))
    assert len(found) == count
    np.testing.assert_allclose(reader.fps, fps, rtol=1e-6)
    assert len(np.unique(found.reshape([count, -1]), axis=0)) == 20


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [("webp", "webp", {"lossless": True}), ("png", "apng", {}), ("gif", "gif", {})],
)
def test_animated_images_are_videos(tmp_path, suffix, codec, options):
    """Also those frames that their writers omit because they repeat the last."""
    path = str(tmp_path / f"a.{suffix}")
    first, *rest = images = pictures([10, 60, 60, 60, 110, 160, 160, 210, 250])
    first.save(path, save_all=True, append_images=rest, duration=40, **options)
    reader = video_reader.VideoReader(path)
    np.testing.assert_array_equal(list(reader), np.stack(images))
    assert (reader.codec, reader.fps, reader.declared_frames) == (codec, 25, 9)


def test_a_webp_is_decoded_as_its_frames_are_read(tmp_path, monkeypatch):
    """So each of them is progress, which restarts a time limit."""
    path = str(tmp_path / "a.webp")
    first, *rest = pictures([10, 60, 110, 160])
    first.save(path, save_all=True, append_images=rest, duration=40)
    events, seek = [], WebPImagePlugin.WebPImageFile.seek

    def spy(image, number):
        events.append(f"decodes {number}")
        seek(image, number)

    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "seek", spy)
    reader = video_reader.VideoReader(path, progress=lambda: events.append("progress"))
    for number, _ in enumerate(reader):
        assert events[-1] == "progress" and len(events) <= 2 * (number + 2)
    expected = [[f"decodes {number}", "progress"] for number in range(4)]
    assert events == [event for pair in expected for event in pair]


def test_a_webp_that_is_too_large_or_cut_is_refused(tmp_path):
    path = tmp_path / "a.webp"
    first, *rest = pictures([10, 60, 110, 160])
    first.save(path, save_all=True, append_images=rest, duration=40, lossless=True)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-20])
    with pytest.raises(video_io.VideoError, match="not a video that can be decoded"):
        read(path)
    data[24:30] = 2 * (9000).to_bytes(3, "little")  # the size of the canvas
    path.write_bytes(data)
    with pytest.raises(
        video_io.VideoError, match="animation has over 16 million pixels"
    ):
        read(path)


@pytest.mark.parametrize("suffix", ["mjpeg", "mjpg"])
def test_motion_jpeg_without_a_container_is_a_video(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    video = smooth(6)
    encode(tmp_path / "a.mjpeg", video, "mjpeg", "yuvj420p", color_range=FULL)
    (tmp_path / "a.mjpeg").rename(path)
    found = read(path)
    assert found.shape == video.shape
    assert np.abs(found - video.astype(int)).mean() < 4


def test_one_jpeg_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    Image.fromarray(smooth(1)[0]).save(path, "JPEG")
    with pytest.raises(video_io.VideoError, match="not a video"):
        read(path)


@pytest.mark.parametrize("fps", [5.0, 12.5, 25.0, 30.0, 60.0])
def test_frames_are_those_shown_at_each_tick(tmp_path, fps):
    """At any rate, also of a file whose own rate varies."""
    times = np.cumsum([0, 1, 1, 3, 1, 2, 1, 1, 5, 1, 1, 1])  # in 1/25 s
    levels = np.linspace(10, 240, len(times)).astype(np.uint8)
    images = np.full([len(times), 48, 64, 3], 0, np.uint8) + levels[:, None, None, None]
    path = str(tmp_path / "a.mkv")
    muxed(path, images, times.tolist())
    reader = video_reader.VideoReader(path, fps=fps)
    found = np.stack(list(reader))
    assert reader.fps == fps
    mean_rate = float(av.open(path).streams.video[0].average_rate)
    ticks = np.arange(round((times[-1] / 25 + 1 / mean_rate) * fps)) / fps
    expected = levels[np.searchsorted(times / 25, ticks + 1e-4, side="right") - 1]
    assert found.shape == (len(expected), 48, 64, 3)
    assert np.abs(found.mean((1, 2, 3)) - expected).max() < 3


def test_joined_recordings_are_resampled_whole(tmp_path):
    """Their times begin again."""
    images = smooth(20, 48, 64)
    path = str(tmp_path / "a.ts")
    with av.open(path, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    data = pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(data + data)
    assert len(list(video_reader.VideoReader(path))) == 40
    assert len(list(video_reader.VideoReader(path, fps=25.0))) == 40
    assert abs(len(list(video_reader.VideoReader(path, fps=50.0))) - 80) <= 1


def test_one_wrong_time_costs_no_frames():
    frames = [types.SimpleNamespace(time=1.4 + i / 25) for i in range(100)]
    frames[80].time, frames[90].time = 0.0, None
    counts = [n for _, n in video_filters.resampled(frames, 25.0, 25.0)]
    assert sum(counts) == 100 and max(counts) <= 2


@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001)])
def test_the_rate_of_raw_dv(tmp_path, rate):
    path = str(tmp_path / "a.dv")
    with av.open(path, "w", format="dv") as container:
        stream = container.add_stream("dvvideo", rate=rate)
        pal = rate == 25
        stream.width, stream.height = 720, 576 if pal else 480
        stream.pix_fmt = "yuv420p" if pal else "yuv411p"
        for image in smooth(3, stream.height, 720):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    assert video_reader.VideoReader(path).fps == pytest.approx(float(rate))


def test_a_rate_that_no_video_has_is_refused(tmp_path):
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W4 H4 F1000000:1 C420\nFRAME\n" + bytes(24))
    with pytest.raises(video_io.VideoError, match="1000000 frames per second"):
        video_reader.VideoReader(str(path))


def test_a_title_that_is_not_utf8_is_no_obstacle(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a title like no other"
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for image in smooth(4, 48, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    assert b"like no other" in data
    path.write_bytes(data.replace(b"like no other", b"lik\xe9 n\xf6 other"))
    assert len(read(path)) == 4


def test_a_gap_is_not_filled_with_frames(tmp_path):
    path = str(tmp_path / "a.mkv")
    images = np.full([4, 48, 64, 3], 99, np.uint8)
    muxed(path, images, [0, 1, 2, 25 * 3600])
    assert len(read(path)) == 4
    with pytest.raises(video_io.VideoError, match="no frame for 3600 seconds"):
        read(path, fps=25.0)


def test_frames_that_would_not_fit_into_memory_are_refused(tmp_path):
    """A GIF of a few bytes that says it is 16,000 pixels wide and high."""
    path = tmp_path / "a.gif"
    size = struct.pack("<HH", 16000, 16000)
    image = b"\x2c" + bytes(4) + size + b"\x00\x02\x02\x4c\x01\x00"
    path.write_bytes(
        b"GIF89a" + size + b"\x80\x00\x00" + bytes(6) + 2 * image + b"\x3b"
    )
    with pytest.raises(
        video_io.VideoError, match="animation has over 16 million pixels"
    ):
        read(path)


def test_a_playlist_under_another_name_is_refused(tmp_path):
    encode(tmp_path / "secret.ts", smooth(6), "libx264")
    path = tmp_path / "a.mp4"
    path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(video_io.VideoError, match="not a video"):
        read(path)
