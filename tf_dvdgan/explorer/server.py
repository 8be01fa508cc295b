"""Serves the page, and only to its own user.

Any website that is open in the same browser can send requests to the loopback address.
The server therefore rejects requests for another host name (DNS rebinding) and requests
from another origin, and a content security policy keeps the page from loading anything
from elsewhere.
"""

import ipaddress
import socket
import urllib.parse
import weakref

import fastapi
import uvicorn
from fastapi.middleware import trustedhost
from nicegui import app as nicegui_app
from nicegui import ui
from starlette import datastructures, responses, types

from tf_dvdgan import errors, generators
from tf_dvdgan.explorer import page, studio

_CONTENT_SECURITY_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval'; img-src 'self' data:; "
    "media-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'"
)


def application(generator: generators.Generator, host: str) -> fastapi.FastAPI:
    """Builds the web application.

    Args:
      generator: the generator to explore.
      host: address that the application is served at. If it is a loopback address,
        requests for another host name are rejected.

    Returns:
      The application, for `serve`.
    """
    videos = studio.Studio(generator)
    weak = weakref.WeakMethod(videos.stop)  # NiceGUI keeps handlers forever
    nicegui_app.on_shutdown(lambda: (stop := weak()) and stop())
    app = fastapi.FastAPI(openapi_url=None)
    app.add_middleware(_Guard)
    if is_loopback(host):
        known = ["localhost", "127.0.0.1", "::1", "[::1]", host]
        app.add_middleware(trustedhost.TrustedHostMiddleware, allowed_hosts=known)
    ui.run_with(
        app,
        root=lambda: page.Page(videos),
        title=f"Explorer: {generator.name}",
        favicon="🎞️",
        dark=None,  # follows the system
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
    )
    return app


def listen(host: str, port: int) -> socket.socket:
    """Opens a port.

    Args:
      host: address of this machine.
      port: port number; 0 for any free port.

    Returns:
      The listening socket.

    Raises:
      UserError: the port is in use, or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise errors.UserError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}. "
            "Use `port=0` for any free port."
        ) from None


def url_of(listener: socket.socket) -> str:
    """The page's URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(app: fastapi.FastAPI, listener: socket.socket) -> None:
    """Serves an application until Ctrl-C.

    Args:
      app: the application.
      listener: a listening socket, from `listen`.
    """
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises it again after shutdown
        pass


class _Guard:
    """Rejects requests from other origins and large uploads; see the module."""

    def __init__(self, app: types.ASGIApp):
        self._app = app

    async def __call__(
        self, scope: types.Scope, receive: types.Receive, send: types.Send
    ) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = _refusal(datastructures.Headers(scope=scope))
        if refusal:
            await refusal(scope, receive, send)
            return

        async def send_with_policy(message: types.Message) -> None:
            if message["type"] == "http.response.start":
                headers = datastructures.MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
            await send(message)

        await self._app(scope, receive, send_with_policy)


def _refusal(headers: datastructures.Headers) -> responses.Response | None:
    origin = headers.get("origin")
    if origin and urllib.parse.urlsplit(origin).netloc != headers.get("host"):
        return responses.PlainTextResponse("Cross-origin requests are rejected.", 403)
    if "transfer-encoding" in headers:
        return responses.PlainTextResponse("Content-Length is required.", 411)
    overhead = 2**20  # of a multipart form
    if int(headers.get("content-length", 0)) > page.LARGEST_UPLOAD + overhead:
        return responses.PlainTextResponse("The file is too large.", 413)
    return None
