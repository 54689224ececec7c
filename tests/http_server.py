"""A small HTTP server for tests: files of a folder, with the habits of good and bad servers."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serve(
    folder: Path, *, ranges: bool = True, sizes: bool = True, status: dict[str, int] | None = None
) -> Iterator[str]:
    """Serve ``folder`` and give the URL.

    ``ranges``: whether Range headers are honoured; ``sizes``: whether HEAD tells a size; ``status``: keys that are
    answered with an error, each once for every call of a key that ends in ``?``, else always.
    """
    failures = dict(status or {})

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            key = self.path.partition("?")[0].lstrip("/")
            if key in failures:
                if failures[key] == 0:  # once: break off
                    del failures[key]
                    self.close_connection = True
                    self.connection.close()
                    return
                self._send(failures[key], b"", body)
                return
            path = folder / key
            if not path.is_file():
                self._send(404, b"", body)
                return
            data = path.read_bytes()
            found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")) if ranges else None
            if found is None:
                self._send(200, data, body)
                return
            start, stop = found.groups()
            first = int(start) if start else max(len(data) - int(stop), 0)
            last = int(stop) + 1 if start and stop else len(data)
            if first >= len(data):
                self._send(416, b"", body)
                return
            extra = {"Content-Range": f"bytes {first}-{min(last, len(data)) - 1}/{len(data)}"}
            self._send(206, data[first:last], body, extra)

        def _send(self, code: int, data: bytes, body: bool, extra: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in (extra or {}).items():
                self.send_header(name, value)
            if body or sizes:
                self.send_header("Content-Length", str(len(data)))
            elif not body:
                self.close_connection = True
            self.end_headers()
            if body:
                self.wfile.write(data)

    with running(Server) as url:
        yield url


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server on loopback until the block ends, and give its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
