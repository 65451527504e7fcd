"""The page on which one draws: what the server answers and refuses, and a real stroke in headless Chromium."""

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import browser
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.commands.demo import LIMIT, SIDE, make_server
from jaxnn.data.frame import FRAMES, fit_frame
from jaxnn.interop.trained import load_trained, save_trained
from jaxnn.layers import flatten, linear, normalize, sequential


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory):
    """A network that tells strokes that lie from strokes that stand: by the spread over columns and over rows."""
    at = np.arange(28) - 13.5
    spread = np.stack([np.tile(at**2, (28, 1)), np.tile(at[:, None] ** 2, 28)], -1).reshape(784, 2) / 1000
    model = sequential(normalize(0.0, 1.0), flatten(), linear(784, 2))
    params = ((), (), {"weight": jnp.asarray(spread, jnp.float32), "bias": jnp.zeros(2)})
    folder, images = tmp_path_factory.mktemp("run"), np.zeros((1, 28, 28, 1), np.uint8)
    names = ["lies", "</script><b>stands"]
    return save_trained(folder, model, params, ((), (), ()), images, names, dataset="strokes", frame=FRAMES["mnist"])


@pytest.fixture(scope="module", name="port")
def _port(run):
    with make_server(load_trained(run)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port, method, path, body=None, **headers):
    """Send a request with the headers of the page's own, but for those given; None leaves one out."""
    usual = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    length = {} if body is None else {"Content-Length": str(len(body))}
    for name, value in {**usual, **length, **{name.replace("_", "-"): v for name, v in headers.items()}}.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    found = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return found


def question(drawing):
    return json.dumps({"pixels": base64.b64encode(np.asarray(drawing, np.uint8).tobytes()).decode()}).encode()


def stroke():
    drawing = np.zeros((SIDE, SIDE), np.uint8)
    drawing[20:28, 10:90] = 255
    return drawing


def test_a_drawing_gets_probabilities_and_is_seen_as_the_set_lies(port):
    for drawing, first in ((stroke(), 0), (stroke().T, 1)):
        status, headers, body = ask(port, "POST", "/predict", question(drawing))
        found = json.loads(body)
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert np.argmax(found["probabilities"]) == first
        assert sum(found["probabilities"]) == pytest.approx(1)
        seen = np.frombuffer(base64.b64decode(found["seen"]), np.uint8).reshape(28, 28)
        np.testing.assert_array_equal(seen, fit_frame(drawing, FRAMES["mnist"]))
        assert sorted(np.ptp(np.argwhere(seen > 127), 0) + 1) == [2, 20]


def test_nothing_drawn_is_no_trouble(port):
    status, _, body = ask(port, "POST", "/predict", question(np.zeros((SIDE, SIDE))))
    assert status == 200
    assert not any(base64.b64decode(json.loads(body)["seen"]))


def test_the_page_is_one_file_and_runs_only_its_own_script(port):
    status, headers, body = ask(port, "GET", "/")
    page = body.decode()
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    (nonce,) = set(re.findall('nonce="([^"]+)"', page))
    assert f"script-src 'nonce-{nonce}'" in headers["Content-Security-Policy"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(r"(https?:)?//[a-z]", re.sub("data:,", "", page.split("<script nonce")[0]))
    assert "{{" not in page
    labels = json.loads(page.split('id="labels"')[1].split(">", 1)[1].split("</script>")[0])
    assert labels["classes"] == ["lies", "</script><b>stands"]
    assert len(question(stroke())) < LIMIT


REFUSED = [
    ("GET", "/../labels.json", None, {}, 404),
    ("GET", "/labels.json", None, {}, 404),
    ("GET", "/%2e%2e/labels.json", None, {}, 404),
    ("GET", "/?", None, {}, 404),
    ("GET", "/predict", None, {}, 405),
    ("DELETE", "/", None, {}, 501),
    ("POST", "/", b"{}", {}, 405),
    ("POST", "/other", b"{}", {}, 404),
    ("GET", "/", None, {"Host": "example.org"}, 403),
    ("GET", "/", None, {"Host": None}, 403),
    ("GET", "/", None, {"Host": "127.0.0.1"}, 403),
    ("POST", "/predict", question(stroke()), {"Host": "rebound.example"}, 403),
    ("POST", "/predict", question(stroke()), {"Origin": "https://example.org"}, 403),
    ("POST", "/predict", question(stroke()), {"Origin": "null"}, 403),
    ("POST", "/predict", question(stroke()), {"Content_Type": "text/plain"}, 415),
    ("POST", "/predict", b"x" * (LIMIT + 1), {}, 413),
    ("POST", "/predict", b"x" * 500_000, {}, 413),
    ("POST", "/predict", b"{}", {"Content_Length": "9" * 4300}, 413),
    ("POST", "/predict", b"{}", {"Content_Length": "-1"}, 411),
    ("POST", "/predict", b"{}", {"Content_Length": None}, 411),
    ("POST", "/predict", b"2\r\n{}\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}, 411),
    ("POST", "/predict", b"", {}, 400),
    ("POST", "/predict", b"{}", {}, 400),
    ("POST", "/predict", b"[" * 10_000, {}, 400),
    ("POST", "/predict", b'{"pixels": 1}', {}, 400),
    ("POST", "/predict", b'{"pixels": "not base64!"}', {}, 400),
    ("POST", "/predict", b'{"pixels": "AAAA"}', {}, 400),
    ("POST", "/predict", question(np.zeros((SIDE, SIDE + 1))), {}, 400),
    ("POST", "/predict", b'{"pixels": "", "more": 1}', {}, 400),
    ("POST", "/predict", b"\xff\xfe", {}, 400),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), REFUSED)
def test_what_is_not_the_pages_own_is_refused(port, method, path, body, headers, status):
    found, _, text = ask(port, method, path, body, **headers)
    assert found == status
    assert b"Traceback" not in text
    assert ask(port, "GET", "/")[0] == 200


def test_localhost_is_this_machine_too(port):
    own = f"localhost:{port}"
    assert ask(port, "POST", "/predict", question(stroke()), Host=own, Origin=f"http://{own}")[0] == 200


def test_two_names_in_one_request_are_refused(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: a\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


@contextmanager
def started(*arguments):
    """Start the command and give (process, port)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxnn", "demo", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        yield process, int(re.fullmatch(r"Draw at http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends\)\n", line).group(1))
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_with_a_line_and_130(run):
    with started(run) as (process, port):
        assert ask(port, "GET", "/")[0] == 200
        assert addresses(process.pid, port) == {"0100007F"}  # 127.0.0.1 and no other
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (130, "", "\ninterrupted\n")


def addresses(pid, port):
    if not os.path.exists(f"/proc/{pid}/net/tcp"):
        return {"0100007F"}
    with open(f"/proc/{pid}/net/tcp") as file:
        places = [line.split()[1].split(":") for line in file.readlines()[1:] if line.split()[3] == "0A"]
    return {address for address, number in places if int(number, 16) == port}


def test_a_stroke_in_a_real_browser(port, tmp_path):
    with browser.chromium(tmp_path) as call:
        for method in ("Page.enable", "Runtime.enable", "Log.enable"):
            call(method)
        for width in (1280, 400):
            call(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width == 400
            )
            call("Page.navigate", url=f"http://127.0.0.1:{port}/")
            browser.wait_for(call, "document.readyState == 'complete' && hint.checkVisibility()")
            assert browser.evaluate(call, "document.documentElement.scrollWidth") == width
            draw(call, [(0.2, 0.3), (0.5, 0.3), (0.8, 0.3)])
            browser.wait_for(call, "best.textContent == 'lies' && !waiting")
            assert browser.evaluate(call, "hint.checkVisibility()") is False
            assert browser.evaluate(call, "rows[0].row.className") == "first"
            assert float(browser.evaluate(call, "sure.textContent").rstrip(" %")) > 50
            draw(call, [(0.5, 0.1), (0.5, 0.5), (0.5, 0.95)], touch=width == 400)  # now a tall cross
            browser.wait_for(call, "best.textContent == '</script><b>stands' && !waiting")
            browser.evaluate(call, "document.getElementById('clear').click()")
            assert browser.evaluate(call, "best.className + sure.textContent") == "none"
        told = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        assert [event for event in call.events if event["method"] in told] == []


def draw(call, points, *, touch=False):
    """Draw a stroke on the paper, points in 0..1, with the mouse or a finger."""
    left, top, size = browser.evaluate(
        call, "(({left, top, width}) => [left, top, width])(paper.getBoundingClientRect())"
    )
    at = [{"x": left + x * size, "y": top + y * size} for x, y in points]
    if touch:
        call("Input.dispatchTouchEvent", type="touchStart", touchPoints=at[:1])
        for place in at[1:]:
            call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[place])
        call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        return
    call("Input.dispatchMouseEvent", type="mousePressed", button="left", clickCount=1, **at[0])
    for place in at[1:]:
        call("Input.dispatchMouseEvent", type="mouseMoved", button="left", buttons=1, **place)
    call("Input.dispatchMouseEvent", type="mouseReleased", button="left", clickCount=1, **at[-1])
