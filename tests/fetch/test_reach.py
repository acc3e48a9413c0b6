import http.server
import threading
import time

import pytest

from whichtune.fetch import reach as reaching
from whichtune.fetch.reach import reach, reach_hub, reach_index


class Answer(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_HEAD(self):
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *args):
        pass


class Refuse(Answer):
    status = 403


class Hang(Answer):
    def do_HEAD(self):
        time.sleep(1)


@pytest.fixture
def serve():
    servers = []

    def start(handler):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_any_answer_counts(serve):
    assert reach(serve(Answer), timeout_seconds=5).reached
    assert reach(serve(Refuse), timeout_seconds=5).reached


def test_no_answer_in_time_is_said(serve):
    start = time.monotonic()
    found = reach(serve(Hang), timeout_seconds=0.2)
    assert not found.reached
    assert found.reason
    assert time.monotonic() - start < 0.9


def test_nothing_raises(tmp_path):
    for address in ("http://127.0.0.1:1/", "nonsense", "ftp://x/", "http://[bad", "file:///nowhere/at/all"):
        found = reach(address, timeout_seconds=1)
        assert not found.reached
        assert found.reason
    assert reach(f"file://{tmp_path}", timeout_seconds=1).reached


def test_secrets_are_not_shown():
    assert reach("http://user:secret@127.0.0.1:1/x", timeout_seconds=1).address == "http://127.0.0.1:1/x"


def test_the_index_is_the_one_pip_uses(serve, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", serve(Answer) + "simple")
    found = reach_index()
    assert found.reached
    assert found.address.endswith("/simple/")
    monkeypatch.setattr(reaching, "_pip_settings", lambda: {"no-index": "1"})
    assert "no-index" in reach_index().reason


def test_the_hub_switched_off_is_not_asked(serve, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", serve(Answer))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert reach_hub().reason == "HF_HUB_OFFLINE is set"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert reach_hub().reached
