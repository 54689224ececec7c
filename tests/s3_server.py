"""A small S3 server for tests: buckets in memory, and a record of what was asked."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from tests.http_server import running


@dataclass
class Bucket:
    """Its ``url``, what it holds by key, and the ``asked`` requests: method and key (a listing: its prefix)."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def options(self) -> dict[str, object]:
        """Return storage options for s3fs."""
        return {
            "endpoint_url": self.url,
            "key": "key",
            "secret": "secret",
            "client_kwargs": {"region_name": "us-east-1"},
        }


@contextmanager
def serve_s3() -> Iterator[Bucket]:
    """Serve one bucket, whatever its name; objects by path style."""
    bucket = Bucket()
    guard = threading.Lock()

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _parts(self) -> tuple[str, dict[str, str]]:
            found = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(found.query, keep_blank_values=True).items()}
            return unquote(found.path).lstrip("/").partition("/")[2], query

        def do_HEAD(self) -> None:
            self._give(body=False)

        def do_GET(self) -> None:
            self._give(body=True)

        def _give(self, body: bool) -> None:
            key, query = self._parts()
            if not key:
                self._list(query)
                return
            bucket.asked.append((self.command, key))
            data = bucket.objects.get(key)
            if data is None:
                self._send(404, _error("NoSuchKey"), body)
                return
            tag = {"ETag": _tag(data), "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
            wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if wanted is None:
                self._send(200, data, body, tag)
                return
            start, stop = wanted.groups()
            first = int(start) if start else max(len(data) - int(stop), 0)
            last = min(int(stop) + 1 if start and stop else len(data), len(data))
            if first >= len(data):
                self._send(416, _error("InvalidRange"), body)
                return
            span = {"Content-Range": f"bytes {first}-{last - 1}/{len(data)}"}
            self._send(206, data[first:last], body, {**tag, **span})

        def _list(self, query: dict[str, str]) -> None:
            prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
            bucket.asked.append(("LIST", prefix))
            names, folders = [], set()
            for key in sorted(bucket.objects):
                if key.startswith(prefix):
                    inner, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
                    folders.add(prefix + inner + delimiter) if found else names.append(key)
            contents = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(bucket.objects[key])}</Size>"
                "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
                for key in names
            )
            below = "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders))
            count = len(names) + len(folders)
            text = f"<KeyCount>{count}</KeyCount><IsTruncated>false</IsTruncated>{contents}{below}"
            self._send(200, f"<ListBucketResult>{text}</ListBucketResult>".encode())

        def do_PUT(self) -> None:
            key, _ = self._parts()
            data = self._body()
            bucket.asked.append(("PUT", key))
            with guard:
                refused = self.headers.get("If-None-Match") == "*" and key in bucket.objects
                if not refused:
                    bucket.objects[key] = data
            if refused:
                self._send(412, _error("PreconditionFailed"))
            else:
                self._send(200, b"", extra={"ETag": _tag(data)})

        def do_DELETE(self) -> None:
            key, _ = self._parts()
            bucket.asked.append(("DELETE", key))
            bucket.objects.pop(key, None)
            self._send(204, b"")

        def do_POST(self) -> None:  # ?delete
            keys = re.findall(r"<Key>(.*?)</Key>", self._body().decode())
            for key in map(unescape, keys):
                bucket.asked.append(("DELETE", key))
                bucket.objects.pop(key, None)
            gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self._send(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

        def _body(self) -> bytes:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            assert "aws-chunked" not in self.headers.get("Content-Encoding", "")
            return data

        def _send(self, code: int, data: bytes, body: bool = True, extra: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in (extra or {}).items():
                self.send_header(name, value)
            if code != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

    with running(Server) as bucket.url:
        yield bucket


def _tag(data: bytes) -> str:
    return f'"{md5(data).hexdigest()}"'


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
