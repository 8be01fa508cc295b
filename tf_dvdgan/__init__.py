"""tf_dvdgan: adversarial video generation in TensorFlow 2.

    import tf_dvdgan as dvd

    gan = dvd.load("run")
    dvd.show(gan.sample(16))

The Python interface is `prepare`, `VideoGAN`, `register`, `load`, `score` and `show`,
see docs/python.md; each is imported when it is first used. Importing the package itself
loads nothing heavy: workers that only decode videos stay light. It turns on oneDNN and
selects Keras 2, so import it before TensorFlow; see `tf_dvdgan.onednn` and
`tf_dvdgan.keras_version`.
"""

import importlib
from typing import TYPE_CHECKING

from tf_dvdgan import keras_version, onednn
from tf_dvdgan.version import __version__  # noqa: F401

if TYPE_CHECKING:
    from tf_dvdgan.config_bindings import register
    from tf_dvdgan.data_prep.job import prepare
    from tf_dvdgan.errors import UserError
    from tf_dvdgan.notebook import History, show
    from tf_dvdgan.scores import score
    from tf_dvdgan.training.loop import Action, State
    from tf_dvdgan.video_gan import VideoGAN, load

__all__ = [
    "Action",
    "History",
    "State",
    "UserError",
    "VideoGAN",
    "load",
    "prepare",
    "register",
    "score",
    "show",
]

_MODULES = {  # of each name
    **dict.fromkeys(["Action", "State"], "training.loop"),
    **dict.fromkeys(["History", "show"], "notebook"),
    **dict.fromkeys(["VideoGAN", "load"], "video_gan"),
    "UserError": "errors",
    "prepare": "data_prep.job",
    "register": "config_bindings",
    "score": "scores",
}

# Before anything here imports TensorFlow.
onednn.enable()
keras_version.use_keras_2()


def __getattr__(name: str) -> object:
    """Imports a name of `__all__` when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
