"""Headless Chromium, driven by its DevTools protocol over a WebSocket, with the standard library alone."""

import base64
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 60  # for anything that the browser is asked


def find_chromium():
    """Return the browser's path, or skip the test and say so."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not here: apt install chromium, to test the page of the demo")
    return found


@contextmanager
def chromium(profile):
    """Start the browser with a profile folder of its own, and give `call(method, **params)` on its first tab."""
    program = [find_chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    program += ["--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(profile / "DevToolsActivePort")
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS))
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        with _connect(port, address) as connection:
            yield _caller(connection)
    finally:
        process.terminate()
        process.wait(SECONDS)


def _port(path):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if path.is_file() and (lines := path.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.05)
    raise TimeoutError("Chromium did not start")


def _connect(port, address):
    connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    path = address.split(str(port), 1)[1]
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert b"101" in head.split(b"\r\n")[0]
    return connection


def _caller(connection):
    """Make `call`, which returns the answer; what the browser tells unasked is collected in `call.events`."""
    numbers = itertools.count(1)

    def call(method, **params):
        number = next(numbers)
        data = json.dumps({"id": number, "method": method, "params": params}).encode()
        length = bytes([0x80 | 126]) + struct.pack(">H", len(data))  # masked with zeros: the text stays as it is
        connection.sendall(b"\x81" + length + bytes(4) + data)
        while True:
            message = json.loads(_message(connection))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            call.events.append(message)

    call.events = []
    return call


def _message(connection):
    whole, final = b"", False
    while not final:
        first, length = _exactly(connection, 2)
        if length > 125:
            length = int.from_bytes(_exactly(connection, 2 if length == 126 else 8), "big")
        whole, final = whole + _exactly(connection, length), bool(first & 0x80)
    return whole


def _exactly(connection, size):
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        assert part, "Chromium closed the connection"
        parts += part
    return bytes(parts)


def evaluate(call, expression):
    """Return the value of an expression in the page."""
    result = call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
    assert "exceptionDetails" not in result, result
    return result["result"].get("value")


def wait_for(call, expression):
    """Wait until an expression in the page is true."""
    end = time.monotonic() + SECONDS
    while not evaluate(call, expression):
        assert time.monotonic() < end, f"{expression} did not become true"
        time.sleep(0.02)
