"""Questions over HTTP to a server that is a stranger: its answers are read up to a limit, and lead nowhere else."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from stages.caption.backends.wire import BadReplyError, RefusedError, shown

if TYPE_CHECKING:  # a sixth of a second, which whoever only reads a recipe need not wait
    import aiohttp

MOST_BYTES = 2 << 20
"""Of an answer. 2048 tokens with their probabilities take about 0.8 MB."""
IN_PIECES = 1 << 20
"""Bytes of a question from which it is sent in pieces, so that other questions do not wait for it."""
CONNECT_S = 10.0
SENT = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


class UnreachableError(Exception):
    """Nobody answers at the address."""


class Connections:
    """A pool of connections to one address. Lives in an event loop.

    Redirects are not followed, cookies not kept, logins of `~/.netrc` not sent. A proxy is taken from the environment
    (HTTPS_PROXY, NO_PROXY and their like).
    """

    def __init__(self, url: str, most: int, key: str | None) -> None:
        import aiohttp

        self._url = url
        self._proxy, login = _proxy(url)
        tunnel = url.startswith("https:")  # through which the proxy sees no header of a question
        self._tunnel_headers = login if tunnel else None
        self._session = aiohttp.ClientSession(
            headers=SENT | ({"Authorization": f"Bearer {key}"} if key else {}) | ({} if tunnel else login),
            connector=aiohttp.TCPConnector(limit=most),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            auto_decompress=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer. However long it takes: the caller sets the time.

        Raises:
            UnreachableError: there is no connection.
            RefusedError: the answer has more than `MOST_BYTES`; they are not read.
            BadReplyError: the connection broke, or the answer is compressed, which nobody asked for.
        """
        import aiohttp

        data = body if len(body) < IN_PIECES else io.BytesIO(body)
        try:
            async with self._session.post(
                self._url, data=data, allow_redirects=False, proxy=self._proxy, proxy_headers=self._tunnel_headers
            ) as response:
                return response.status, response.headers, await _bounded(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError) as error:
            raise UnreachableError(shown(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise BadReplyError(shown(error)) from None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > MOST_BYTES:
        raise RefusedError(f"an answer of {response.content_length} bytes is not read; {MOST_BYTES} are the most")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadReplyError("the answer is compressed, though none such was asked for")
    held = bytearray()
    async for chunk in response.content.iter_any():
        held += chunk
        if len(held) > MOST_BYTES:
            raise RefusedError(f"an answer of more than {MOST_BYTES} bytes is not read to its end")
    return bytes(held)


def _proxy(url: str) -> tuple[str | None, dict[str, str]]:
    """The address of the proxy for a URL, and the header with its login."""
    there = urlsplit(url)
    found = getproxies().get(there.scheme)
    if not found or proxy_bypass(there.hostname or ""):
        return None, {}
    proxy = urlsplit(found)
    if proxy.username is None:
        return found, {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    bare = proxy._replace(netloc=proxy.netloc.rpartition("@")[2]).geturl()
    return bare, {"Proxy-Authorization": f"Basic {b64encode(login.encode()).decode()}"}
