"""Hands the page out, to whom it is meant for.

A page on the loopback address is within reach of every page that is open in the same
browser. So requests are refused that name another host (a foreign name which has been
turned to this address), or that come from another site's page; and the browser is told
to load nothing from elsewhere.
"""

import ipaddress
import socket
import urllib.parse

import fastapi
import uvicorn
from fastapi.middleware import trustedhost
from nicegui import ui
from starlette import datastructures, responses, types

from tf_dvdgan import errors, generators
from tf_dvdgan.explorer import page, studio

_ONLY_FROM_HERE = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval'; img-src 'self' data:; "
    "media-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'"
)


def application(generator: generators.Generator, host: str) -> fastapi.FastAPI:
    """The page as an application to serve.

    Args:
      generator: to look around in.
      host: that it is served at; where that is this machine alone, requests that name
        another are refused.
    """
    videos = studio.Studio(generator)
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
        dark=None,  # as the system has it
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
    )
    return app


def listen(host: str, port: int) -> socket.socket:
    """Opens a port.

    Raises:
      UserError: it is taken, or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise errors.UserError(
            f"Cannot listen at {host}, port {port}: {error.strerror or error}. "
            "--port=0 takes any that is free."
        ) from None


def url_of(listener: socket.socket) -> str:
    """Where to find the page."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(app: fastapi.FastAPI, listener: socket.socket) -> None:
    """Serves until Ctrl-C."""
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # raised again once the server has ended
        pass


class _Guard:
    """Refuses what other sites' pages send and what is too large; see the module."""

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
                headers["Content-Security-Policy"] = _ONLY_FROM_HERE
            await send(message)

        await self._app(scope, receive, send_with_policy)


def _refusal(headers: datastructures.Headers) -> responses.Response | None:
    origin = headers.get("origin")
    if origin and urllib.parse.urlsplit(origin).netloc != headers.get("host"):
        return responses.PlainTextResponse("Another site's page asks.", 403)
    if "transfer-encoding" in headers:
        return responses.PlainTextResponse("Say the length of what you send.", 411)
    around = 2**20  # what a form adds
    if int(headers.get("content-length", 0)) > page.LARGEST_UPLOAD + around:
        return responses.PlainTextResponse("The file is too large.", 413)
    return None
