"""tf_dvdgan: adversarial video generation in TensorFlow 2.

    import tf_dvdgan as dvd

    gan = dvd.load("run")
    dvd.show(gan.sample(16))

The Python interface is `VideoGAN`, `load`, `score` and `show`, see
`tf_dvdgan.video_gan`; each is imported when it is first asked for. Importing the
package alone loads nothing heavy: workers that only decode videos stay light. It turns
on oneDNN, so import it before TensorFlow; see `tf_dvdgan.onednn`.
"""

import importlib
from typing import TYPE_CHECKING

from tf_dvdgan import onednn
from tf_dvdgan.version import __version__  # noqa: F401

if TYPE_CHECKING:
    from tf_dvdgan.errors import UserError
    from tf_dvdgan.video_gan import (
        Action,
        History,
        State,
        VideoGAN,
        load,
        score,
        show,
    )

__all__ = [
    "Action",
    "History",
    "State",
    "UserError",
    "VideoGAN",
    "load",
    "score",
    "show",
]

onednn.enable()  # before anything here imports TensorFlow


def __getattr__(name: str) -> object:
    """Imports what `__all__` names when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "errors" if name == "UserError" else "video_gan"
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
