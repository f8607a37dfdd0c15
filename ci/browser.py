"""A headless Chromium, driven over the DevTools protocol through a pipe: no port is opened and no library is needed.

Protocol: https://chromedevtools.github.io/devtools-protocol/; the pipe carries JSON documents that end in NUL, to the
browser's descriptor 3 and from its descriptor 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

# Nothing of this leaves the machine: no updates, no safe browsing, no metrics.
ARGS = [
    "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
]
PATIENCE_S = 60
TALLEST = 8000


class Browser:
    """One browser with one page; `with Browser() as browser: ...`."""

    def __enter__(self):
        program = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
        if program is None:
            raise RuntimeError("no chromium on this machine: `ci/setup --tests` installs it")
        self.profile = tempfile.mkdtemp(prefix="twinboot-chromium-")
        to_child, self.write = os.pipe()
        self.read, from_child = os.pipe()
        # Chromium's sandbox refuses root; the pages are this repository's own.
        extra = ["--no-sandbox"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_child} 4>&{from_child}', "bash", program, *ARGS, *extra,
             f"--user-data-dir={self.profile}", "about:blank"],
            pass_fds=[to_child, from_child], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(to_child)
        os.close(from_child)
        self.buffer, self.events, self.last, self.session = b"", [], 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.read)
        os.close(self.write)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, **params):
        """Sends a command and returns its result; events that come meanwhile are kept."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        wanted = self.last
        return self.until(lambda it: it.get("id") == wanted, method)["result"]

    def until(self, wanted, what):
        """The first message that is `wanted`, of those to come."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            while b"\0" in self.buffer:
                text, self.buffer = self.buffer.split(b"\0", 1)
                message = json.loads(text)
                if "error" in message:
                    raise RuntimeError(f"chromium refuses {what}: {message['error']['message']}")
                if wanted(message):
                    return message
                if "method" in message:
                    self.events.append(message)
            ready, _, _ = select.select([self.read], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.read, 1 << 20) if ready else b""
            if not chunk:
                raise RuntimeError(f"chromium {'said nothing' if not ready else 'ended'} while asked for {what}")
            self.buffer += chunk

    def evaluate(self, expression):
        """The value of a script's expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"the page throws: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def look(self, width, scheme):
        """How wide the window is, and whether light or dark is preferred."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, path):
        """Loads a file, and returns every request but its own and everything that landed in the console."""
        address = "file://" + os.path.abspath(path)
        self.events.clear()
        self.call("Page.navigate", url=address)
        if not any(it["method"] == "Page.loadEventFired" for it in self.events):
            self.events.append(self.until(lambda it: it.get("method") == "Page.loadEventFired", f"loading {path}"))
        # A round trip after the load: whatever the page still wanted to say or fetch has been told by then.
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")
        requests, console = [], []
        for event in self.events:
            method, params = event["method"], event["params"]
            if method == "Network.requestWillBeSent":
                requests.append(params["request"]["url"])
            elif method == "Log.entryAdded":
                console.append(params["entry"]["text"])
            elif method == "Runtime.consoleAPICalled":
                console.append(json.dumps(params["args"]))
            elif method == "Runtime.exceptionThrown":
                console.append(params["exceptionDetails"]["text"])
        requests = [it for it in requests if it != address and not it.startswith("data:")]
        return requests, console

    def screenshot(self, path):
        """The page as a PNG, all of it unless it is taller than what Chromium draws at once."""
        width, height = self.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST), "scale": 1}
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        with open(path, "wb") as file:
            file.write(base64.b64decode(image["data"]))
