"""A server on this machine, for the loaders that download."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmtutor.data.download import RemoteFile

Answer = Callable[[BaseHTTPRequestHandler], None]


class LocalServer:
    """Serves what is put into ``answers``, path to content or to a function that answers, and keeps a log."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, bytes | Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def remote(self, name: str, content: bytes, answer: bytes | Answer | None = None) -> RemoteFile:
        """Serve ``answer`` (else ``content``) as a file whose checksum is that of ``content``."""
        self.answers["/" + name] = content if answer is None else answer
        return RemoteFile(name, (f"{self.address}/{name}",), "sha256:" + hashlib.sha256(content).hexdigest())


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MMTUTOR_DATA", str(folder))
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    monkeypatch.setenv("NO_PROXY", "*")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            local.requests.append((self.path, dict(self.headers)))
            answer = local.answers.get(self.path)
            if callable(answer):
                answer(self)
            elif answer is None:
                self.send_error(404)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False  # an answer that stalls must not stall the tests

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that gave up

    with Server(("127.0.0.1", 0), Handler) as running:
        local = LocalServer(f"http://127.0.0.1:{running.server_port}")
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield local
        running.shutdown()
        thread.join()
