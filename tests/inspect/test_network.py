"""Reachability: bounded in time, any answer counts, and no credentials are shown."""

from __future__ import annotations

import http.server
import threading
import time

import pytest

from whichtune.inspect import network

SETTINGS = ("PIP_NO_INDEX", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "HF_ENDPOINT", "HF_HUB_OFFLINE")


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in (*SETTINGS, "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(403)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_refusal_is_an_answer(server, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", server)
    monkeypatch.setenv("HF_ENDPOINT", server)
    assert [finding.status for finding in network.check_network()] == ["ok", "ok"]


def test_nobody_listening_is_a_note(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:1/simple")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    index, hub = network.check_network()
    assert index.status == hub.status == "note"
    assert "127.0.0.1: not reachable" in index.value
    assert "secret" not in index.value + index.remedy


def test_a_place_that_hangs_costs_no_more_than_the_limit(monkeypatch):
    monkeypatch.setattr(network, "find_trouble", lambda url, seconds: time.sleep(5))
    start = time.monotonic()
    troubles = network.ask_all(["http://a", "http://b"], seconds=0.2)
    assert time.monotonic() - start < 2
    assert troubles == dict.fromkeys(["http://a", "http://b"], "no answer within 0.2 s")


def test_settings_that_switch_off_are_named(monkeypatch):
    monkeypatch.setattr(network, "ask_all", lambda urls, seconds: dict.fromkeys(urls))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    index, hub = network.check_network()
    assert "PIP_NO_INDEX" in index.value
    assert "HF_HUB_OFFLINE" in hub.value
    assert index.status == hub.status == "note"


def test_the_index_is_the_one_pip_uses(monkeypatch, tmp_path):
    first, second = tmp_path / "one.conf", tmp_path / "two.conf"
    first.write_text("[global]\nindex-url = https://one.example/simple\n")
    second.write_text("[install]\nno-binary = x\n")
    monkeypatch.setattr(network, "list_pip_files", lambda: [tmp_path / "none", first, second])
    assert network.find_index() == "https://one.example/simple"
    second.write_text("[global]\nindex-url = https://us%%er@two.example/simple\n")
    assert network.name_place(network.find_index()) == "two.example"
    monkeypatch.setenv("PIP_INDEX_URL", "https://three.example")
    assert network.find_index() == "https://three.example"


def test_without_settings_it_is_the_public_index(monkeypatch, tmp_path):
    broken = tmp_path / "broken.conf"
    broken.write_text("no section\n")
    monkeypatch.setattr(network, "list_pip_files", lambda: [broken])
    assert network.find_index() == network.INDEX


def test_folders_serve_as_an_index(tmp_path):
    assert network.find_trouble(tmp_path.as_uri(), 1) is None
    assert network.find_trouble((tmp_path / "none").as_uri(), 1) == "no such folder"
    assert "scheme" in network.find_trouble("ftp://x", 1)
