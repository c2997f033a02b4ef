"""A headless Chromium, driven by its DevTools protocol over a pipe. Standard library alone; needs Debian's `chromium`."""
import base64
import collections
import json
import os
import select
import shutil
import struct
import subprocess
import tempfile
import time
import zlib

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
KEYS = {"Tab": 9, "Enter": 13, "Backspace": 8}


def paeth(a, b, c):
    pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def rows_of(png):
    """Width, bytes a pixel, and the rows of an 8-bit RGB or RGBA file, their filters undone."""
    width, _, _, kind = struct.unpack(">IIBB", png[16:26])
    step, at, data = {2: 3, 6: 4}[kind], 8, b""
    while at < len(png):
        (n,) = struct.unpack(">I", png[at:at + 4])
        data += png[at + 8:at + 8 + n] if png[at + 4:at + 8] == b"IDAT" else b""
        at += n + 12
    data, size, rows, above = zlib.decompress(data), width * step + 1, [], bytes(width * step)
    for y in range(0, len(data), size):
        kind, row = data[y], bytearray(data[y + 1:y + size])
        for i in range(len(row) if kind else 0):
            a, b, c = row[i - step] if i >= step else 0, above[i], above[i - step] if i >= step else 0
            row[i] = row[i] + (0, a, b, (a + b) // 2, paeth(a, b, c) if kind == 4 else 0)[kind] & 255
        rows.append(row)
        above = row
    return width, step, rows


def with_palette(png):
    """The same picture in the 256 colours that it has most of, each other one by the nearest: a third of the bytes."""
    width, step, rows = rows_of(png)
    pixels = [[bytes(r[i:i + 3]) for i in range(0, len(r), step)] for r in rows]
    counts = collections.Counter(p for r in pixels for p in r)
    colours = [p for p, _ in counts.most_common(256)]
    index = {p: min(range(len(colours)), key=lambda i: sum((a - b) ** 2 for a, b in zip(p, colours[i]))) for p in counts}
    data = zlib.compress(b"".join(b"\0" + bytes(index[p] for p in r) for r in pixels), 9)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)), (b"PLTE", b"".join(colours)), (b"IDAT", data), (b"IEND", b""))
    return png[:8] + b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)


class Chromium:
    """One browser with one page. What a page says against its policy, throws or logs as an error is in `complaints`."""

    def __init__(self, width=1200, height=900):
        self.profile = tempfile.TemporaryDirectory()
        self.to, self.back, self.buffer, self.n = None, None, b"", 0
        self.replies, self.complaints = {}, []
        read, self.to = os.pipe()
        self.back, write = os.pipe()
        args = [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe",
                "--disable-extensions", "--disable-background-networking", "--user-data-dir=" + self.profile.name, "about:blank"]
        with open(os.path.join(self.profile.name, "log"), "wb") as log:  # the browser reads 3, and writes 4
            shell = f'exec "$@" 3<&{read} 4>&{write}'
            self.p = subprocess.Popen(["bash", "-c", shell, "bash", *args], pass_fds=(read, write), stdout=log, stderr=log)
        os.close(read)
        os.close(write)
        self.session = None
        target = self.page_target()
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.size(width, height)

    def page_target(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pages = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
            if pages:
                return pages[0]["targetId"]
            time.sleep(0.05)
        raise AssertionError("the browser has opened no page")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.p.kill()
        self.p.wait()
        os.close(self.to)
        os.close(self.back)
        for _ in range(100):  # its children write until they have seen it go
            try:
                return self.profile.cleanup()
            except OSError:
                time.sleep(0.05)

    # ---- the protocol: JSON, each with a NUL behind ----

    def call(self, method, seconds=60, **params):
        self.n += 1
        o = {"id": self.n, "method": method, "params": params}
        if self.session:
            o["sessionId"] = self.session
        os.write(self.to, json.dumps(o).encode() + b"\0")
        end = time.monotonic() + seconds
        while self.n not in self.replies:
            self.read(end - time.monotonic(), method)
        reply = self.replies.pop(self.n)
        assert "error" not in reply, (method, reply["error"])
        return reply["result"]

    def read(self, seconds, what):
        ready, _, _ = select.select([self.back], [], [], max(seconds, 0))
        assert ready, f"{what}: the browser does not answer"
        got = os.read(self.back, 1 << 20)
        assert got, f"{what}: the browser has ended"
        *whole, self.buffer = (self.buffer + got).split(b"\0")
        for o in map(json.loads, whole):
            if "id" in o:
                self.replies[o["id"]] = o
            elif o["method"] == "Runtime.exceptionThrown":
                self.complaints.append(o["params"]["exceptionDetails"].get("exception", {}).get("description", "an exception"))
            elif o["method"] == "Log.entryAdded" and o["params"]["entry"]["source"] != "network":  # a refused request is no fault of the page
                self.complaints.append(o["params"]["entry"]["text"])

    # ---- the page ----

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, expression):
        """Its value; what it throws is a failure."""
        r = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, allowUnsafeEvalBlockedByCSP=False)
        assert "exceptionDetails" not in r, (expression, r["exceptionDetails"])
        return r["result"].get("value")

    def until(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < end, f"not true after {seconds} s: {expression}; the page says {self.js('document.body.innerText')!r}"
            time.sleep(0.03)

    def text(self, id):
        return self.js(f"document.getElementById({json.dumps(id)}).textContent")

    def click(self, id):
        self.js(f"document.getElementById({json.dumps(id)}).click()")

    def put(self, id, value):
        self.js(f"document.getElementById({json.dumps(id)}).value = {json.dumps(str(value))}")

    def key(self, name, modifiers=0):
        """A key pressed and released; modifiers: 2 Ctrl, 8 Shift."""
        o = {"key": name, "code": name, "windowsVirtualKeyCode": KEYS[name], "modifiers": modifiers}
        text = {"text": "\r"} if name == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **o, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **o)

    def type(self, text):
        for c in text:
            self.call("Input.dispatchKeyEvent", type="char", text=c)

    def size(self, width, height, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(with_palette(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])))
