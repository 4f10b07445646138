"""An admin panel, as small as one can be: a page that tells which release on which host answers."""

from __future__ import annotations

import asyncio
import html

from aiohttp import web

from .beside import Beside, begun, serve


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit code of the process."""
    who, port, drain_s = begun("admin", arguments)
    process = Beside(who, "/admin/")

    async def page(_request: web.Request) -> web.Response:
        words = html.escape(f"release {who.release} in {who.color} on {who.host}")
        return web.Response(
            text=f"<!doctype html><title>Admin</title><h1>Admin</h1><p>{words}</p>\n", content_type="text/html"
        )

    process.application.router.add_get("/admin/", page)
    asyncio.run(serve(process, port, drain_s, lambda: None))
    return 0
