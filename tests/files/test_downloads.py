import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ddeep.errors import CacheError
from ddeep.files.downloads import DownloadError, download, matches, offline

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers according to the path asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = getattr(self, "answer_" + self.path.strip("/").replace("-", "_"), None)
        if answer is None:
            self.send_error(404)
        else:
            answer()

    def send(self, body: bytes, promised: int | None, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        if promised is not None:
            self.send_header("Content-Length", str(promised))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def answer_whole(self):
        self.send(CONTENT, len(CONTENT))

    def answer_unmeasured(self):
        self.send(CONTENT, None)

    def answer_cut(self):
        self.send(CONTENT[:1000], len(CONTENT))

    def answer_another(self):
        self.send(b"another file", 12)

    def answer_redirect(self):
        self.send(b"", 0, 302, Location="/whole")

    def answer_downgrade(self):
        self.send(b"", 0, 302, Location=f"http://localhost:{self.server.server_port}/whole")

    def answer_local(self):
        self.send(b"", 0, 302, Location="file:///etc/passwd")

    def answer_circle(self):
        self.send(b"", 0, 302, Location="/circle")

    def answer_silence(self):
        self.send(CONTENT[:10], len(CONTENT))
        self.wfile.flush()
        self.server.silence.wait(20)

    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate for localhost")
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    subprocess.run([*command.split(), "-addext", "subjectAltName=DNS:localhost"], cwd=folder, check=True, stderr=-3)
    return folder


@pytest.fixture
def server(certificate, monkeypatch) -> Iterator[ThreadingHTTPServer]:
    """A real https server, whose certificate this process trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server = ThreadingHTTPServer(("localhost", 0), Handler)
    server.daemon_threads = True
    server.asked, server.silence = [], threading.Event()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    monkeypatch.delenv("DDEEP_OFFLINE", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.silence.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(server):
    return f"https://localhost:{server.server_port}"


@pytest.mark.parametrize("sha256", [SHA256, SHA256.upper(), SHA256[:8]])
@pytest.mark.parametrize("path", ["whole", "unmeasured", "redirect"])
def test_a_whole_file_arrives_and_is_announced(url, tmp_path, capsys, path, sha256):
    target = tmp_path / "new" / "file.bin"
    assert download(f"{url}/{path}", sha256, target, "the thing") == target
    assert target.read_bytes() == CONTENT
    assert [entry.name for entry in target.parent.iterdir()] == ["file.bin"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Downloading the thing" in captured.err
    assert str(target) in captured.err


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("cut", "broke off after 1,000 of 1,280,000 bytes"),
        ("another", "is not the thing: its sha256"),
        ("absent", "404"),
        ("downgrade", "not an https address"),
        ("local", "not an https address|not allowed"),
        ("circle", "infinite loop"),
    ],
)
def test_what_goes_wrong_leaves_the_target_as_it_was(url, server, tmp_path, path, message):
    target = tmp_path / "file.bin"
    target.write_text("before")
    with pytest.raises(DownloadError, match=message) as caught:
        download(f"{url}/{path}", SHA256, target, "the thing")
    assert "\n" not in str(caught.value)
    assert target.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]
    assert len(server.asked) == 1 or path == "circle"  # no second attempt


def test_silence_ends_it(url, tmp_path, monkeypatch):
    monkeypatch.setattr("ddeep.files.downloads._TIMEOUT", 0.3)
    with pytest.raises(DownloadError, match=r"broke off: .*timed out"):
        download(f"{url}/silence", SHA256, tmp_path / "x", "the thing")


def test_more_than_announced_or_than_fits_is_refused(url, tmp_path, monkeypatch):
    monkeypatch.setattr("ddeep.files.downloads._MAX_BYTES", 1000)
    with pytest.raises(DownloadError, match="larger than announced, or than the free space"):
        download(f"{url}/unmeasured", SHA256, tmp_path / "x", "the thing")


def test_a_certificate_nobody_vouches_for(url, tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(DownloadError, match=r"Cannot download the thing.*certificate"):
        download(f"{url}/whole", SHA256, tmp_path / "x", "the thing")


def test_a_target_that_cannot_be_written(url, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((DownloadError, CacheError), match="file"):
        download(f"{url}/whole", SHA256, tmp_path / "file" / "x", "the thing")


@pytest.mark.parametrize("address", ["http://localhost/x", "ftp://localhost/x", "file:///etc/passwd", "/etc/passwd"])
def test_only_https(tmp_path, address):
    with pytest.raises(DownloadError, match="not an https address"):
        download(address, SHA256, tmp_path / "x", "the thing")


def test_nobody_there(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match="Cannot download the thing"):
        download(f"https://localhost:{port}/x", SHA256, tmp_path / "x", "the thing")


def test_without_a_hash_nothing_is_fetched(url, server, tmp_path):
    with pytest.raises(DownloadError, match="no known hash"):
        download(f"{url}/whole", "", tmp_path / "x", "the thing")
    assert server.asked == []


def test_offline_forbids_it(url, server, tmp_path, monkeypatch):
    monkeypatch.setenv("DDEEP_OFFLINE", "1")
    with pytest.raises(DownloadError, match="downloads are forbidden"):
        download(f"{url}/whole", SHA256, tmp_path / "x", "the thing")
    assert server.asked == []


@pytest.mark.parametrize(("value", "forbidden"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_the_offline_switch(monkeypatch, value, forbidden):
    monkeypatch.setenv("DDEEP_OFFLINE", value)
    assert offline() is forbidden


def test_a_prefix_of_a_hash_matches():
    assert matches(SHA256, SHA256[:8])
    assert not matches(SHA256, SHA256[:7] + "x")
