"""A server on this machine that speaks what tinyclap needs of the Hugging Face hub's API: real requests, no network."""

import base64
import hashlib
import http.server
import json
import re
import threading
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit


class LocalHub:
    """Repositories in memory, served at ``url``.

    Arguments
    ---------
    repos : dict of str to dict of str to bytes
        ``owner/name`` → file name → content.

    Attributes
    ----------
    asked : list of str
        Every request so far: method, path, and the range that is asked for.
    cut : set of str
        Files whose transfer breaks off half way, every time until they are taken out of the set.
    """

    def __init__(self, repos):
        self.repos, self.asked, self.cut, self.url = repos, [], set(), None

    def commit(self, repo_id):
        """The commit of a repository: another one for other contents."""
        digest = hashlib.sha1(usedforsecurity=False)
        for name, content in sorted(self.repos[repo_id].items()):
            digest.update(name.encode() + hashlib.sha1(content, usedforsecurity=False).digest())
        return digest.hexdigest()


@contextmanager
def serve(repos):
    """Serve `repos` while the block runs: yields the LocalHub."""
    hub = LocalHub(repos)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub = None

    def log_message(self, *_):
        """Be quiet."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self._note(path)
        page = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = page or file
        if found is None or found[1] not in self.hub.repos:
            return self._answer(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
        repo_id, commit = found[1], self.hub.commit(found[1])
        revision = file[2] if file else page[3]
        if revision not in (None, "main", commit):
            return self._answer(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
        files = self.hub.repos[repo_id]
        if file:
            return self._file(files, file[3], commit)
        if page[2] == "tree":
            return self._answer(
                200, [{"type": "file", "path": n, "size": len(c), "oid": _oid(c)} for n, c in sorted(files.items())]
            )
        siblings = [{"rfilename": name} for name in sorted(files)]
        return self._answer(200, {"id": repo_id, "sha": commit, "private": False, "siblings": siblings, "tags": []})

    def do_POST(self):
        path = unquote(urlsplit(self.path).path)
        self._note(path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.headers.get("Authorization", "").startswith("Bearer hf_"):
            return self._answer(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo_id = f"{asked.get('organization', 'me')}/{asked['name']}"
            self.hub.repos.setdefault(repo_id, {})
            return self._answer(200, {"url": f"{self.hub.url}/{repo_id}", "name": repo_id})
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        repo_id, what = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path).groups()
        if what == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for name in names]
            return self._answer(200, {"files": modes})
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.hub.repos[repo_id][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        commit = self.hub.commit(repo_id)
        return self._answer(200, {"commitUrl": f"{self.hub.url}/{repo_id}/commit/{commit}", "commitOid": commit})

    def _file(self, files, name, commit):
        if name not in files:
            return self._answer(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})
        content = files[name]
        first = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0])[0])
        headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        n_sent = len(content) // 2 if name in self.hub.cut and self.command == "GET" else None
        return self._send(206 if first else 200, content[first:], "application/octet-stream", headers, n_sent)

    def _answer(self, status, content, headers=()):
        return self._send(status, json.dumps(content).encode(), "application/json", dict(headers))

    def _send(self, status, content, kind, headers, n_sent=None):
        self.send_response(status)
        self.send_header("Connection", "close")
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:n_sent])

    def _note(self, path):
        self.hub.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())


def _oid(content):
    """git's own name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
