"""A hub on this machine: a folder served as the hub serves a data set, slow, refusing or lying as it is told.

Whoever has the token "hf_writer" may upload models as "me" or as "house": they are below `root`/models/OWNER/NAME.
"""

import base64
import hashlib
import http.server
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

REVISION = "5" * 40
ROLES = {"hf_writer": "write", "hf_reader": "read"}
"""Token to what it may do."""


class StandIn(http.server.ThreadingHTTPServer):
    """Serves `root` as every data set; `faults` is what happens to the next requests, one each."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.faults, self.requests = root, [], []
        self.always: tuple | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_) -> None:
        """A client that has gone is nothing to tell of."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/api/whoami-v2":
            kind, *given = self.server.always or ("none",)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if kind == "status" or token not in ROLES:
                return self._answer(given[0] if kind == "status" else 401, b'{"error": "Invalid credentials"}')
            who = {"name": "me", "orgs": [{"name": "house"}], "auth": {"accessToken": {"role": ROLES[token]}}}
            return self._answer(200, json.dumps(who).encode())
        if not re.match("/(api/)?datasets/", self.path):  # what else the client would like to know
            return self._answer(404, b"{}")
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path.split("?")[0], wanted))
        kind, *given = self.server.faults.pop(0) if self.server.faults else self.server.always or ("none",)
        if kind == "status":
            return self._answer(given[0], b'{"error": "so it is"}', given[1] if len(given) > 1 else {})
        if kind == "silent":
            time.sleep(given[0])
            self.close_connection = True
            return None
        if kind == "reset":
            self.close_connection = True
            self.connection.shutdown(2)
            return None
        if self.path.startswith("/api/datasets/"):
            return self._answer(200, json.dumps(self._listing()).encode())
        found = re.fullmatch(r"/datasets/[^/]+/[^/]+/resolve/[^/]+/(.*)", unquote(self.path))
        path = self.server.root / found[1] if found else self.server.root / "none"
        if not path.is_file():
            return self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        if kind == "flip":
            content = content[:50] + bytes([content[50] ^ 1]) + content[51:]
        start = 0
        if wanted and kind != "whole":
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        self.send_response(206 if wanted and kind != "whole" else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if kind == "cut":
            self.wfile.write(body[: given[0]])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
        elif kind == "slow":
            for at in range(0, len(body), given[0]):
                self.wfile.write(body[at : at + given[0]])
                self.wfile.flush()
                time.sleep(given[1])
        else:
            self.wfile.write(body)
        return None

    def do_POST(self) -> None:
        """The four questions of an upload of files that are not large."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, None))
        if ROLES.get(self.headers.get("Authorization", "").removeprefix("Bearer ")) != "write":
            return self._answer(403, b'{"error": "no"}')
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            return self._json({"url": f"{self.server.address}/{asked['organization']}/{asked['name']}"})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.path.endswith("/preupload/main"):
            there = {"uploadMode": "regular", "shouldIgnore": False}
            return self._json({"files": [{"path": each["path"], **there} for each in json.loads(body)["files"]]})
        repo = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path)
        if repo is None:
            return self._answer(404, b"{}")
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                path = self.server.root / "models" / repo[1] / line["value"]["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(base64.b64decode(line["value"]["content"]))
        where = f"{self.server.address}/{repo[1]}/commit/{REVISION}"
        return self._json({"success": True, "commitOid": REVISION, "commitUrl": where, "hookOutput": ""})

    def _json(self, content: dict) -> None:
        self._answer(200, json.dumps(content).encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _listing(self) -> dict:
        files = sorted(path for path in self.server.root.rglob("*") if path.is_file())
        return {
            "id": "owner/name",
            "sha": REVISION,
            "siblings": [
                {
                    "rfilename": path.relative_to(self.server.root).as_posix(),
                    "size": path.stat().st_size,
                    "blobId": hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest(),
                    **({"lfs": self._lfs(path)} if path.suffix == ".parquet" else {}),
                }
                for path in files
            ],
        }

    @staticmethod
    def _lfs(path: Path) -> dict:
        content = path.read_bytes()
        return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}


@contextmanager
def stand_in(root: Path) -> Iterator[StandIn]:
    """Serves while it is open."""
    server = StandIn(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":  # by hand: python tests/hub/stand_in.py FOLDER, then HF_ENDPOINT=…
    import sys

    with stand_in(Path(sys.argv[1])) as running:
        print(f"HF_ENDPOINT={running.address}", os.getpid(), flush=True)
        threading.Event().wait()
