"""Fetching, against a server on this machine that breaks, resumes, or lies."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest

from paraspike.datasets import fetch as fetching
from paraspike.datasets.__main__ import main
from paraspike.datasets.locate import locate
from paraspike.datasets.registry import DATASETS, SourceFile
from paraspike.errors import ReaderError

CONTENT = bytes(range(256)) * 800
MD5 = hashlib.md5(CONTENT).hexdigest()
HTML = b"<html><body>Sign in to download</body></html>"


class Server(ThreadingHTTPServer):
    """Serves CONTENT under /good, half of it once under /breaks, HTML under /html; keeps a log."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.log, self.broken = [], False

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        start, kind = int(start), self.path.strip("/").split("/")[0]
        self.server.log.append((kind, start))
        if kind == "gone":
            self.send_error(404)
            return
        body = HTML if kind == "html" else CONTENT
        ranges = kind in ("good", "breaks") and start > 0
        if ranges and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if ranges else 200)
        body = body[start:] if ranges else body
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind in ("breaks", "norange") and not self.server.broken:
            self.server.broken = True
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: None)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(house):
    return house / "data" / "mnist" / "some.gz"


def get(server, target, *kinds, md5=MD5):
    source = SourceFile("some.gz", tuple(server.url(f"{kind}/some.gz") for kind in kinds), md5)
    return fetching.download("mnist", source, target)


def test_gets_a_file(server, target):
    assert get(server, target, "good") == target
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["some.gz"]


def test_goes_on_where_a_broken_download_stopped(server, target):
    get(server, target, "breaks")
    assert target.read_bytes() == CONTENT
    assert server.log[0] == ("breaks", 0)
    assert server.log[1][0] == "breaks" and 0 < server.log[1][1] < len(CONTENT)


def test_goes_on_where_an_earlier_process_stopped(server, target):
    target.parent.mkdir(parents=True)
    target.with_name(".some.gz.part").write_bytes(CONTENT[:1000])
    get(server, target, "good")
    assert target.read_bytes() == CONTENT and server.log == [("good", 1000)]


def test_starts_again_with_a_server_that_cannot_go_on(server, target):
    get(server, target, "norange")
    assert target.read_bytes() == CONTENT and server.log[1][1] > 0


def test_a_leftover_of_something_else_is_thrown_away(server, target):
    target.parent.mkdir(parents=True)
    target.with_name(".some.gz.part").write_bytes(b"x" * 1000)
    get(server, target, "good")
    assert target.read_bytes() == CONTENT and server.log == [("good", 1000), ("good", 0)]


def test_a_whole_leftover_needs_no_more_bytes(server, target):
    target.parent.mkdir(parents=True)
    target.with_name(".some.gz.part").write_bytes(CONTENT)
    get(server, target, "good")
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["gone", "html"])
def test_tries_the_second_address(server, target, kind):
    get(server, target, kind, "good")
    assert target.read_bytes() == CONTENT and server.log[-1] == ("good", 0)


def test_an_error_page_is_never_taken_for_the_file(server, target):
    with pytest.raises(ReaderError) as caught:
        get(server, target, "html", "gone")
    message = str(caught.value)
    assert len(message.splitlines()) <= 5
    assert "some.gz" in message and "data/mnist/" in message
    assert server.url("html/some.gz") in message and server.url("gone/some.gz") in message
    assert "what came is not the published file" in message and "404" in message
    assert not target.exists()


def test_offline_says_what_to_put_where(house, monkeypatch, capsys):
    def refuse(*_, **__):
        raise fetching.requests.exceptions.ConnectionError("no route")

    monkeypatch.setattr(fetching.requests, "get", refuse)
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: None)
    assert main(["fetch", "shd", "digits"]) == 1
    printed = capsys.readouterr()
    assert "digits: made on this machine" in printed.out
    for words in ("shd_train.h5.gz", "no connection", "data/shd/", "compneuro.net", "zenkelab.org"):
        assert words in printed.err
    assert len(printed.err.splitlines()) <= 5


@pytest.fixture
def small_set(house, monkeypatch):
    """A registered data set of one file that exists nowhere."""
    entry = DATASETS["nmnist"]
    part = (SourceFile("some.gz", (), MD5), SourceFile("other.gz", (), None))
    monkeypatch.setitem(
        DATASETS, "nmnist", type(entry)(**{**vars(entry), "parts": {"train": (part,)}})
    )
    return house


def test_the_given_folder_is_searched_before_the_repository(small_set, tmp_path, monkeypatch):
    with pytest.raises(ReaderError, match="some.gz is not on this machine"):
        locate("nmnist", "train")
    home = small_set / "data" / "nmnist"
    given = tmp_path / "given"
    monkeypatch.setenv("PARASPIKE_DATA", str(given))
    for folder in (home, given, given / "nmnist", tmp_path / "asked"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "some.gz").write_bytes(CONTENT)
        folder = tmp_path / "asked" if folder == tmp_path / "asked" else None
        found = locate("nmnist", "train", folder=folder)
    assert found[0].path == tmp_path / "asked" / "some.gz" and found[0].verified
    assert locate("nmnist", "train")[0].path == given / "nmnist" / "some.gz"
    (given / "nmnist" / "some.gz").unlink()
    assert locate("nmnist", "train")[0].path == given / "some.gz"
    (given / "some.gz").unlink()
    assert locate("nmnist", "train")[0].path == home / "some.gz"


def test_other_content_is_refused_unless_allowed(small_set):
    path = small_set / "data" / "nmnist" / "some.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    with pytest.raises(ReaderError, match="allow_unverified_data: true") as caught:
        locate("nmnist", "train")
    assert MD5 in str(caught.value) and len(str(caught.value).splitlines()) <= 5
    with pytest.raises(ReaderError, match="is not the published file"):
        fetching.fetch("nmnist")
    (found,) = locate("nmnist", "train", allow_unverified=True)
    assert not found.verified and found.path == path
    assert fetching.fetch("nmnist", allow_unverified=True) == [path]
    assert path.read_bytes() == b"something else"


def test_a_file_without_a_published_checksum_is_never_verified(small_set):
    path = small_set / "data" / "nmnist" / "other.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    with pytest.raises(ReaderError, match="no published checksum"):
        locate("nmnist", "train")
    assert not locate("nmnist", "train", allow_unverified=True)[0].verified
