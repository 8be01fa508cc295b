"""A local web page to explore a generator: class, seed, truncation, interpolation.

`studio` generates the videos, `page` shows them, `server` serves the page.
"""

import webbrowser
from typing import Any

from tf_dvdgan import errors


def explore(
    *,
    host: str = "127.0.0.1",
    port: int = 8088,
    open_browser: bool = False,
    **generator: Any,
) -> None:
    """Serves a page to explore a generator until Ctrl-C, and prints where it is.

    Args:
      host: address of this machine to listen at.
      port: port to listen at; 0 for any free port.
      open_browser: whether to open the page.
      **generator: arguments of `generators.open_generator`, such as `model_dir`; by
        default a generator that comes with the package.

    Raises:
      UserError: NiceGUI is not installed, the port is in use, or there is no such
        generator, or it is an autoencoder.
    """
    try:
        from tf_dvdgan.explorer import server
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("nicegui", "fastapi", "uvicorn"):
            raise
        raise errors.UserError(
            "The page needs NiceGUI: pip install 'tf_dvdgan[explore]'."
        ) from None
    from tf_dvdgan import generators, pretrained

    if not any(map(generator.get, ("model_dir", "saved_model", "pretrained"))):
        generator["pretrained"] = pretrained.DEFAULT
    with server.listen(host, port) as listener:
        opened = generators.open_generator(**generator)
        opened.check_makes_videos()
        app = server.application(opened, host)
        if not server.is_loopback(host):
            print(
                f"warning: listening on {host}: anyone who can reach this machine can "
                "use the model, without a password."
            )
        url = server.url_of(listener)
        print(f"{opened.name}: {url} (Ctrl-C ends it)", flush=True)
        if open_browser:
            webbrowser.open(url)
        server.serve(app, listener)
