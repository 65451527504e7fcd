"""`python -m jaxnn demo`: a page on this machine where one draws, and the probabilities of a network follow live.

The server is the standard library's and speaks on the loopback interface alone. It knows two addresses, the page and
the question, whose body has one form and a bounded size; it answers only when it is called by its own name (a page from
elsewhere cannot reach it by a name that points here) and only its own page.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.data.frame import Frame, fit_frame
from jaxnn.interop.trained import Trained, load_trained, probabilities

ADDRESS = "127.0.0.1"
SIDE = 112  # pixels of the drawing that the page sends: four times those of MNIST
LIMIT = 20_000  # bytes of a question: a drawing in base64 is 16,728
UNREAD = 2**20  # bytes of a refused question that are taken off the line
SECONDS = 10  # until a connection that says nothing is closed


class Reply(NamedTuple):
    """What the server answers: a status, a content type, and the bytes."""

    status: int
    kind: str
    body: bytes


def demo(folder: Path, port: int = 0) -> int:
    """Serve the page of the network in a run folder until Ctrl-C, on a free port unless one is given.

    Raises what `load_trained` raises, ValueError for a network that does not read grey images, and OSError, naming the
    port, where it is in use.

    >>> demo(Path("no/such/folder"))
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder has no labels.json: there is no such folder
    """
    trained = load_trained(folder)
    if trained.kind != "image" or trained.shape[-1] != 1:
        reads = "texts" if trained.kind == "text" else "images in colour" if trained.kind == "image" else "features"
        raise ValueError(f"demo shows networks of grey images, but that of {folder} reads {reads}: use predict")
    probabilities(trained, np.zeros((1, *trained.shape)))  # compiles
    try:
        server = make_server(trained, port)
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot listen on {ADDRESS}:{port}: {error.strerror}: choose another --port, or none"
        ) from error
    with server:
        print(f"Draw at http://{ADDRESS}:{server.server_port}/ (Ctrl-C ends)", flush=True)
        server.serve_forever()
    return 0


def make_server(trained: Trained, port: int = 0) -> ThreadingHTTPServer:
    """Make the server of a network of grey images; `serve_forever()` starts it.

    >>> trained = Trained(len, "", "", ("a", "b"), "image", (8, 8, 1), "uint8")
    >>> with make_server(trained) as server:
    ...     server.server_address[0]
    '127.0.0.1'
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"demo expected a port in 0..65535 but got {port}")
    nonce = secrets.token_urlsafe(16)
    content = page(trained, nonce)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    server = _Server((ADDRESS, port), _handler(lambda body: answer(trained, body), content, policy))
    return server


def page(trained: Trained, nonce: str) -> bytes:
    """Put the names of the network's classes into the page; only scripts and styles with the nonce run.

    >>> b"</script><b>" in page(Trained(len, "", "", ("</script><b>",), "image", (8, 8, 1), "uint8"), "n")
    False
    """
    frame = frame_of(trained)
    (rows, columns), where = frame.size, " by its centre of mass" if frame.centre == "mass" else ""
    digits = all(name.isdigit() for name in trained.class_names)
    labels = {
        "title": "Draw a digit" if digits else "Draw one of these",
        "about": " · ".join(filter(None, (trained.dataset, trained.model))),
        "how": f"What is drawn is scaled to {frame.box} pixels and centred{where} in {columns}x{rows}, as the network "
        "knows its images. All is computed on this machine.",
        "classes": trained.class_names,
        "size": frame.size,
        "side": SIDE,
    }
    html = resources.files("jaxnn.commands").joinpath("demo.html").read_text(encoding="utf-8")
    safe = json.dumps(labels).replace("<", "\\u003c")
    return html.replace("{{nonce}}", nonce).replace("{{labels}}", safe).encode()


def frame_of(trained: Trained) -> Frame:
    """Return the frame of a network's images, or for one without a frame one that is filled.

    >>> frame_of(Trained(len, "", "", (), "image", (8, 6, 1), "uint8"))
    Frame(size=(8, 6), box=6, centre='box')
    """
    rows, columns = trained.shape[:2]
    return trained.frame or Frame((rows, columns), min(rows, columns), "box")


def answer(trained: Trained, body: bytes) -> Reply:
    """Answer a question, `{"pixels": base64 of SIDE * SIDE bytes, light on dark}`, with probabilities and what is seen.

    >>> answer(Trained(len, "", "", (), "image", (8, 8, 1), "uint8"), b"{}").status
    400
    """
    try:
        question = json.loads(body)
        if not isinstance(question, dict) or list(question) != ["pixels"] or not isinstance(question["pixels"], str):
            raise ValueError("an object with the field pixels")
        pixels = base64.b64decode(question["pixels"], validate=True)
        if len(pixels) != SIDE * SIDE:
            raise ValueError(f"{SIDE * SIDE} bytes")
    except (ValueError, RecursionError, binascii.Error) as error:
        return _text(400, f"expected {error}" if type(error) is ValueError else "expected JSON with base64")
    image = fit_frame(np.frombuffer(pixels, np.uint8).reshape(SIDE, SIDE), frame_of(trained))
    (found,) = probabilities(trained, image.reshape(1, *trained.shape))
    reply = {"probabilities": found.tolist(), "seen": base64.b64encode(image.tobytes()).decode()}
    return Reply(200, "application/json", json.dumps(reply).encode())


def _text(status: int, text: str) -> Reply:
    return Reply(status, "text/plain; charset=utf-8", f"{text}\n".encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away is no news, and nothing here can be mended by a traceback."""


def _handler(ask: Callable[[bytes], Reply], content: bytes, policy: str) -> type[BaseHTTPRequestHandler]:
    """Make the class that the standard library's server wants, of the page and what answers a question."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = SECONDS
        wbufsize = -1  # header and body in one packet: in two, the second waits 40 ms for the first one's receipt
        server_version, sys_version = "jaxnn", ""

        def do_GET(self) -> None:
            found = Reply(200, "text/html; charset=utf-8", content) if self.path == "/" else _text(404, "not found")
            self._send(_text(405, "ask with POST") if self.path == "/predict" else self._stranger() or found)

        def do_POST(self) -> None:
            refusal = self._stranger() or self._refused()
            self._send(refusal or ask(self.rfile.read(int(self.headers["Content-Length"]))))
            if refusal and self.headers.get("Content-Length", "").isdecimal():
                self.rfile.read1(UNREAD)  # a connection closed over unread bytes may lose the reply

        def _stranger(self) -> Reply | None:
            """Refuse a name that is not this server's, and a page that is not its own."""
            here = {f"{name}:{self.connection.getsockname()[1]}" for name in (ADDRESS, "localhost")}
            hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
            if len(hosts) != 1 or hosts[0] not in here or not {f"http://{name}" for name in here}.issuperset(origins):
                return _text(403, "this server answers its own page alone")
            return None

        def _refused(self) -> Reply | None:
            """Refuse what is no question, before a byte of it is read."""
            lengths = self.headers.get_all("Content-Length", [])
            if self.path != "/predict":
                return _text(404 if self.path != "/" else 405, "not found" if self.path != "/" else "nothing to post")
            if len(lengths) != 1 or not lengths[0].isdecimal() or "Transfer-Encoding" in self.headers:
                return _text(411, "expected one Content-Length")
            if len(lengths[0]) > 9 or int(lengths[0]) > LIMIT:
                return _text(413, f"expected at most {LIMIT} bytes")
            if self.headers.get_content_type() != "application/json":
                return _text(415, "expected application/json")
            return None

        def _send(self, reply: Reply) -> None:
            self.close_connection = self.close_connection or reply.status != 200  # a body may be left unread
            self.send_response(reply.status)
            headers = {
                "Content-Type": reply.kind,
                "Content-Length": str(len(reply.body)),
                "Content-Security-Policy": policy,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Cache-Control": "no-store",
            }
            for name, value in headers.items():
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(reply.body)
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: every move of the pen is a request."""

    return Handler
