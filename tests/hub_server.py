"""A small Hugging Face Hub on this machine, for the real client: repositories with commits and branches, LFS, faults.

What it does follows the requests of huggingface_hub's `HfApi`, `hf_hub_download` and `snapshot_download`. Large files are
served from another host name (`localhost` beside 127.0.0.1), as the Hub does from its CDN. Faults are asked for:

    hub.fail("POST .*/commit/", 500, times=2)       the next two commits
    hub.fail("PUT /lfs/", "drop")                   the connection is dropped halfway through the body
    hub.fail("POST .*/commit/", "lose")             the commit is made, its answer is lost
    hub.fail("GET /cdn/", "cut")                    half of the file comes
    hub.before("POST .*/commit/", action)           something happens just before
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKENS = {"hf_writer": "write", "hf_reader": "read"}


@dataclass
class File:
    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        """git's name of the content; of a large file, of its pointer."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        data = text.encode() if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Commit:
    parent: str
    files: dict[str, File]
    message: str

    @property
    def oid(self) -> str:
        tree = "".join(f"{name} {file.oid}\n" for name, file in sorted(self.files.items()))
        return hashlib.sha1(f"{self.parent}\n{tree}\n{self.message}".encode()).hexdigest()


@dataclass
class Repository:
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, files: dict[str, File], message: str) -> Commit:
        commit = Commit(self.branches.get(branch, ""), files, message)
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit

    def log(self, branch: str = "main") -> list[Commit]:
        """Commits of a branch, the newest first."""
        out, oid = [], self.branches[branch]
        while oid:
            out.append(self.commits[oid])
            oid = out[-1].parent
        return out

    def at(self, revision: str) -> Commit | None:
        return self.commits.get(self.branches.get(revision, revision))


@dataclass
class Fault:
    match: str
    kind: int | str
    times: int
    headers: dict[str, str]
    action: Callable[[], Any] | None = None


@dataclass
class Request:
    method: str
    path: str
    token: str | None
    status: int = 0
    received: int = 0
    sent: int = 0
    headers: dict[str, str] = field(default_factory=dict)


class Hub:
    """The server; use it as a context. `lfs_above`: bytes from which a file is a large one; `part`: bytes of an LFS part."""

    def __init__(self, lfs_above: int = 10_000, part: int | None = None) -> None:
        self.lfs_above, self.part = lfs_above, part
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}  # large files by SHA-256
        self.parts: dict[tuple[str, int], bytes] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fail(self, match: str, kind: int | str, times: int = 1, **headers: str) -> None:
        """The next `times` requests whose "METHOD /path" matches fail: a status, or "drop", "lose", "cut"."""
        self.faults.append(Fault(match, kind, times, {k.replace("_", "-"): v for k, v in headers.items()}))

    def before(self, match: str, action: Callable[[], Any]) -> None:
        self.faults.append(Fault(match, "before", 1, {}, action))

    def forget(self) -> None:
        """Drops the log of requests and all faults that were not met."""
        self.requests.clear()
        self.faults.clear()

    def asked(self, match: str) -> list[Request]:
        return [r for r in self.requests if re.search(match, f"{r.method} {r.path}")]

    def make(self, repo_id: str, files: dict[str, bytes], *, private: bool = False, message: str = "by hand") -> Commit:
        """A commit that another made, to `main` of a repository."""
        with self.lock:
            if repo_id not in self.repositories:
                self.create(repo_id, private)
            repository = self.repositories[repo_id]
            found = {name: File(data, len(data) > self.lfs_above) for name, data in files.items()}
            self.objects |= {file.sha256: file.data for file in found.values() if file.lfs}
            return repository.add("main", repository.commits[repository.branches["main"]].files | found, message)

    def create(self, repo_id: str, private: bool) -> None:
        self.repositories[repo_id] = Repository(private)
        self.repositories[repo_id].add(
            "main", {".gitattributes": File(b"*.safetensors filter=lfs\n", False)}, "initial commit"
        )

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        commit = self.repositories[repo_id].at(revision)
        assert commit is not None
        return {name: file.data for name, file in commit.files.items() if name != ".gitattributes"}


class Answer(Exception):
    """Ends a request with a status."""

    def __init__(self, status: int, body: Any = None, **headers: str) -> None:
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def refused(status: int, message: str, code: str = "") -> Answer:
    return Answer(status, {"error": message}, X_Error_Message=message, **({"X_Error_Code": code} if code else {}))


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes

    def log_message(self, format: str, *_: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    def do(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.request_seen = Request(self.command, path, token, headers=dict(self.headers))
        with self.hub.lock:
            self.hub.requests.append(self.request_seen)
            fault = self._fault(path)
            if fault is not None and fault.action is not None:
                fault.action()
                fault = None
        kind = fault.kind if fault is not None else None
        if kind == "drop":
            self.request_seen.received = len(self._body(half=True))
            self.close_connection = True
            return
        body = self._body()
        self.request_seen.received = len(body)
        if fault is not None and isinstance(kind, int):
            self._send(Answer(kind, {"error": f"fault {kind}"}, **fault.headers))
            return
        try:
            with self.hub.lock:
                answer = self._route(path, body, token)
        except Answer as ended:
            answer = ended
        if kind == "lose":
            self.close_connection = True
            return
        self._send(answer, cut=kind == "cut")

    do_GET = do_HEAD = do_POST = do_PUT = do

    def _fault(self, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if re.search(fault.match, f"{self.command} {path}"):
                fault.times -= 1
                if fault.times == 0:
                    self.hub.faults.remove(fault)
                return fault
        return None

    def _body(self, half: bool = False) -> bytes:
        length = self.headers.get("Content-Length")
        if length is not None:
            return self.rfile.read(int(length) // (2 if half else 1))
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return b""
        out = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            out += self.rfile.read(size)
            self.rfile.readline()
            if half:
                return out
        self.rfile.readline()
        return out

    def _send(self, answer: Answer, cut: bool = False) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body or {}).encode()
        self.request_seen.status = answer.status
        self.send_response(answer.status)
        kind = "application/octet-stream" if isinstance(answer.body, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            sent = body[: len(body) // 2] if cut else body
            self.request_seen.sent = len(sent)
            self.wfile.write(sent)
            self.close_connection = self.close_connection or cut

    def _route(self, path: str, body: bytes, token: str | None) -> Answer:
        name = r"(?P<repo>[\w.-]+/[\w.-]+)"
        for method, pattern, action in (
            ("POST", "/api/repos/create", self.create_repo),
            ("POST", "/api/validate-yaml", self.validate_yaml),
            ("GET", f"/api/models/{name}(/revision/(?P<revision>.+))?", self.model_info),
            ("GET", f"/api/models/{name}/tree/(?P<revision>[^/]+)", self.tree),
            ("POST", f"/api/models/{name}/preupload/(?P<revision>.+)", self.preupload),
            ("POST", f"/api/models/{name}/commit/(?P<revision>.+)", self.commit),
            ("POST", f"/api/models/{name}/branch/(?P<branch>.+)", self.branch),
            ("POST", f"/{name}.git/info/lfs/objects/batch", self.lfs_batch),
            ("PUT", r"/lfs/(?P<oid>\w{64})(/(?P<part>\d+))?", self.lfs_put),
            ("POST", r"/lfs/(?P<oid>\w{64})/complete", self.lfs_complete),
            ("GET", f"/{name}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self.resolve),
            ("GET", r"/cdn/(?P<oid>\w{64})", self.cdn),
        ):
            found = re.fullmatch(pattern, path)
            if found and self.command in (method, "HEAD" if method == "GET" else method):
                groups = found.groupdict()
                self.body, self.token = body, token
                if token is not None and token not in TOKENS:
                    return refused(401, "Invalid credentials in Authorization header")
                if "repo" in groups:
                    groups["repo"] = self.allowed(groups["repo"], write=method != "GET")
                return action(**groups)
        return refused(404, f"no such route: {self.command} {path}")

    def allowed(self, repo_id: str, write: bool) -> str:
        repository = self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and self.token is None):
            raise refused(401 if self.token is None else 404, "Repository not found", "RepoNotFound")
        if write and self.token is None:
            raise refused(401, "Invalid username or password.")
        if write and TOKENS[self.token or ""] != "write":
            raise refused(403, "You don't have the rights to write here")
        return repo_id

    def at(self, repo: str, revision: str | None) -> Commit:
        found = self.hub.repositories[repo].at(revision or "main")
        if found is None:
            raise refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def create_repo(self) -> Answer:
        asked = json.loads(self.body)
        repo_id = f"{asked['organization']}/{asked['name']}"
        if self.token is None:
            return refused(401, "Invalid username or password.")
        if TOKENS[self.token] != "write":
            return refused(403, "You don't have the rights to create a model here")
        answer = {"url": f"{self.hub.url}/{repo_id}", "name": repo_id, "id": repo_id}
        if repo_id in self.hub.repositories:
            return Answer(409, answer | {"error": "You already created this model repo"})
        self.hub.create(repo_id, asked.get("visibility") == "private")
        return Answer(200, answer)

    def validate_yaml(self) -> Answer:
        content = json.loads(self.body)["content"]
        found = re.match(r"---\n(.*?)\n---", content, re.DOTALL)
        try:
            ok = found is not None and isinstance(yaml.safe_load(found.group(1)), dict)
        except yaml.YAMLError:
            ok = False
        errors = [] if ok else [{"message": "no YAML metadata"}]
        return Answer(200 if ok else 400, {"errors": errors, "warnings": []})

    def model_info(self, repo: str, revision: str | None) -> Answer:
        commit, private = self.at(repo, revision), self.hub.repositories[repo].private
        siblings = [{"rfilename": name} for name in commit.files]
        return Answer(200, {"id": repo, "modelId": repo, "sha": commit.oid, "private": private, "siblings": siblings})

    def tree(self, repo: str, revision: str) -> Answer:
        out: list[dict[str, Any]] = []
        for name, file in self.at(repo, revision).files.items():
            out.append({"type": "file", "oid": file.oid, "size": len(file.data), "path": name})
            if file.lfs:
                out[-1]["lfs"] = {"oid": file.sha256, "size": len(file.data), "pointerSize": 130}
        return Answer(200, out)

    def preupload(self, repo: str, revision: str) -> Answer:
        files = self.at(repo, revision).files
        out = []
        for asked in json.loads(self.body)["files"]:
            lfs = asked["size"] > self.hub.lfs_above
            there = files.get(asked["path"])
            oid = None if there is None else there.sha256 if there.lfs else there.oid
            out.append(
                {"path": asked["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": oid}
            )
        return Answer(200, {"files": out})

    def lfs_batch(self, repo: str) -> Answer:
        out = []
        for asked in json.loads(self.body)["objects"]:
            oid, size = asked["oid"], asked["size"]
            out.append({"oid": oid, "size": size})
            if oid in self.hub.objects:
                continue
            href = f"{self.hub.url}/lfs/{oid}"
            upload: dict[str, Any] = {"href": href}
            if self.hub.part is not None and size > self.hub.part:
                parts = {str(i + 1): f"{href}/{i + 1}" for i in range(math.ceil(size / self.hub.part))}
                upload = {"href": f"{href}/complete", "header": {"chunk_size": str(self.hub.part), **parts}}
            out[-1]["actions"] = {"upload": upload}
        return Answer(200, {"transfer": "multipart" if self.hub.part else "basic", "objects": out})

    def lfs_put(self, oid: str, part: str | None) -> Answer:
        if part is not None:
            self.hub.parts[oid, int(part)] = self.body
        elif hashlib.sha256(self.body).hexdigest() != oid:
            return refused(400, "the content is not that of the hash")
        else:
            self.hub.objects[oid] = self.body
        return Answer(200, ETag=f'"{hashlib.md5(self.body).hexdigest()}"')

    def lfs_complete(self, oid: str) -> Answer:
        numbers = [part["partNumber"] for part in json.loads(self.body)["parts"]]
        data = b"".join(self.hub.parts[oid, number] for number in numbers)
        if hashlib.sha256(data).hexdigest() != oid:
            return refused(400, "the parts are not those of the hash")
        self.hub.objects[oid] = data
        return Answer(200)

    def commit(self, repo: str, revision: str) -> Answer:
        repository = self.hub.repositories[repo]
        if revision not in repository.branches:
            return refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        head = repository.commits[repository.branches[revision]]
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, head.oid):
            return refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return refused(400, f"the large file {value['path']} was not uploaded")
                files[value["path"]] = File(self.hub.objects[value["oid"]], True)
            elif line["key"] == "deletedFile" and files.pop(value["path"], None) is None:
                return refused(404, "A file with this name doesn't exist", "EntryNotFound")
        made = repository.add(revision, files, header["summary"])
        return Answer(
            200, {"success": True, "commitOid": made.oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{made.oid}"}
        )

    def branch(self, repo: str, branch: str) -> Answer:
        repository = self.hub.repositories[repo]
        if branch in repository.branches:
            return refused(409, "Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        return Answer(200)

    def resolve(self, repo: str, revision: str, file: str) -> Answer:
        commit = self.at(repo, revision)
        found = commit.files.get(file)
        about = {"X_Repo_Commit": commit.oid}
        if found is None:
            return Answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", **about)
        if not found.lfs:
            return self._part(found.data, ETag=f'"{found.oid}"', **about)
        size, place = str(len(found.data)), f"http://localhost:{self.hub.port}/cdn/{found.sha256}"
        return Answer(302, b"", Location=place, X_Linked_Etag=f'"{found.sha256}"', X_Linked_Size=size, **about)

    def cdn(self, oid: str) -> Answer:
        return self._part(self.hub.objects[oid], ETag=f'"{oid}"')

    def _part(self, data: bytes, **headers: str) -> Answer:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not found:
            return Answer(200, data, Accept_Ranges="bytes", **headers)
        begin, end = int(found.group(1)), int(found.group(2) or len(data) - 1)
        return Answer(206, data[begin : end + 1], Content_Range=f"bytes {begin}-{end}/{len(data)}", **headers)
