"""Models on the Hugging Face Hub: a release folder goes up as one commit; of a repository what is wanted comes down.

A release folder (config.json with format "aura-model/1", README.md, safetensors) is what `save_pretrained` writes.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from aura.data.config import kind_of

T = TypeVar("T")
FORMAT = "aura-model/1"
# Files of a release, wherever it has them. `*` of fnmatch goes over slashes: what lies at the root is told by having none.
# What can run code when it is read; it neither goes up nor comes down.
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.joblib")
TOWERS = "towers/*.safetensors"
TOKENIZER = ("tokenizer/*.json", "tokenizer/*.txt", "tokenizer/*.model")  # and no code
SHARED = (
    "config.json",
    "README.md",
    "training_data.npz",
    "shared.safetensors",
    "classifiers.safetensors",
    "phrases.safetensors",
)
PASSING = (408, 409, 412, 425, 429)  # and 5xx: the same request may succeed later, or with the new head
LONGEST_WAIT_S = 330.0  # the Hub counts requests in windows of five minutes
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token of https://huggingface.co/settings/tokens"


class HubError(RuntimeError):
    """Something that the Hub refuses, or a folder or repository that is no model of aura; the message says what to do."""


@dataclass(frozen=True)
class Pushed:
    """What a push made: url and oid of its commit ("" of a dry run), bytes by file, files that it deleted."""

    url: str
    oid: str
    files: Mapping[str, int]
    deleted: tuple[str, ...] = ()


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    message: str = "Upload of an aura model",
    revision: str | None = None,
    token: str | None = None,
    dry_run: bool = False,
    attempts: int = 5,
) -> Pushed:
    """Makes the repository hold what the release folder holds, by one commit; makes the repository where it is missing.

    private     of a repository that is made here; an existing public one is refused
    revision    a branch, made from `main` where it is missing (default: main)
    dry_run     says what would go up, and asks no network
    attempts    tries of the whole, where the Hub is busy, down or has moved on; what was uploaded is not sent again

    Files of an earlier release that the folder lacks are deleted in the same commit; files of others stay.
    HubError where the Hub refuses, or still fails at the last attempt.
    """
    files = release_files(Path(folder))
    sizes = {name: path.stat().st_size for name, path in files.items()}
    check_name(repo_id)
    if dry_run:
        return Pushed("", "", sizes)
    api = HfApi(token=token, library_name="aura", library_version=_version())
    known: dict[str, CommitOperationAdd] = {}  # with the hashes, which are computed once

    def push() -> Pushed:
        head = _head(api, repo_id, revision, private)
        there = [sibling.rfilename for sibling in head.siblings or ()]
        stale = tuple(name for name in there if name not in files and of_release(name))
        # New operations for each attempt: they remember what the repository held when they were sent.
        operations = [CommitOperationAdd(name, path) for name, path in files.items()]
        for operation in operations:
            if operation.path_in_repo in known:
                operation.upload_info = known[operation.path_in_repo].upload_info
            known[operation.path_in_repo] = operation
        # Not `upload_folder`: with Xet it makes several commits of a large folder.
        commit = api.create_commit(
            repo_id,
            [*operations, *map(CommitOperationDelete, stale)],
            commit_message=message,
            revision=revision,
            parent_commit=head.sha,  # another push in between is a 412, not a mixture of the two
        )
        return Pushed(str(commit.commit_url), commit.oid, sizes, stale)

    return _attempt(push, attempts, f"push to {repo_id}")


def download(
    repo_id: str,
    revision: str | None = None,
    modalities: Sequence[str] | None = None,
    token: str | None = None,
    attempts: int = 5,
) -> Path:
    """Folder of a release in the Hub's cache, with the towers of these modalities (kinds or streams; default: all).

    All files are of one commit, safetensors and text alone. Without a network what the cache has is used.
    HubError where there is no such repository, revision or model; ValueError for a modality that it lacks.
    """
    check_name(repo_id)

    def fetch() -> Path:
        try:
            config = Path(hf_hub_download(repo_id, "config.json", revision=revision, token=token))
        except LocalEntryNotFoundError:  # no answer; it is an EntryNotFoundError too
            raise
        except EntryNotFoundError as error:
            raise HubError(f"{repo_id} has no config.json: it holds no model of aura") from error
        towers = read_config(config, repo_id).get("towers")
        streams = list(towers) if isinstance(towers, dict) else []
        if modalities is not None:
            streams = wanted_streams(streams, modalities, repo_id)
        towers = [f"towers/{stream}.safetensors" for stream in streams]
        folder = snapshot_download(
            repo_id,
            revision=config.parent.name,  # the commit, so that all files are of one
            allow_patterns=[*SHARED, *TOKENIZER, *towers],
            ignore_patterns=list(PICKLES),
            token=token,
        )
        missing = [name for name in towers if not (Path(folder) / name).is_file()]
        if missing:
            raise HubError(
                f"{repo_id} at {config.parent.name[:8]} lacks {', '.join(missing)}, which its config.json names"
            )
        return Path(folder)

    return _attempt(fetch, attempts, f"{repo_id} at {revision or 'main'}")


def release_files(folder: Path) -> dict[str, Path]:
    """Files of a release folder by their path in it, hidden ones left out. HubError where it is none, or has a pickle."""
    if not (folder / "config.json").is_file():
        raise HubError(f"{folder} is not a release folder: it has no config.json. `save_pretrained` writes one")
    read_config(folder / "config.json", str(folder))
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    files = {name: path for name, path in names.items() if not any(part.startswith(".") for part in name.split("/"))}
    unsafe = [name for name in files if any(fnmatchcase(name, pattern) for pattern in PICKLES)]
    if unsafe:
        raise HubError(f"{folder}: {', '.join(unsafe)} may run code when it is read; a release holds safetensors alone")
    return files


def of_release(name: str) -> bool:
    """Whether a file is one that a release writes, by its path in the folder."""
    return name in SHARED or any(fnmatchcase(name, pattern) for pattern in (TOWERS, *TOKENIZER))


def read_config(file: Path, where: str) -> dict[str, Any]:
    """The content of a release's config.json. HubError where it is not one of aura, or of a format that this version does not
    know."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HubError(f"{where} has no config.json: it holds no model of aura") from None
    except (OSError, ValueError, RecursionError) as error:
        raise HubError(f"{where}: config.json is not JSON: {error}") from error
    config = config if isinstance(config, dict) else {}
    found = config.get("format")
    if not isinstance(found, str) or not found.startswith("aura-model/"):
        kind = f"; it is of a {config['model_type']}" if config.get("model_type") else ""
        raise HubError(f"{where} is no model of aura: its config.json has no format {FORMAT}{kind}")
    if found != FORMAT:
        version = config.get("version", "?")
        raise HubError(
            f"{where} is of format {found}, written by aura {version}; this is aura {_version()}, which reads {FORMAT}:"
            f" install aura {version} to use it"
        )
    return config


def wanted_streams(streams: Iterable[str], modalities: Sequence[str], where: str) -> list[str]:
    """Streams of a model that modalities name, by kind (`imu`) or by stream (`video_depth`). ValueError for others."""
    streams = list(streams)
    unknown = [name for name in modalities if name not in streams and name not in map(kind_of, streams)]
    if unknown:
        raise ValueError(f"{where} has no tower of {', '.join(unknown)}; it has {', '.join(streams)}")
    return [stream for stream in streams if stream in modalities or kind_of(stream) in modalities]


def check_name(repo_id: str) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise HubError(f"{repo_id!r} names no repository of the Hub: write user/name")


def _head(api: HfApi, repo_id: str, revision: str | None, private: bool) -> Any:
    """The newest commit of the branch, with its files. Repository and branch are made where they are missing."""
    try:
        info = api.model_info(repo_id, revision=revision)
    except RevisionNotFoundError:
        assert revision is not None
        api.create_branch(repo_id, branch=revision, exist_ok=True)
        info = api.model_info(repo_id, revision=revision)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision not in (None, constants.DEFAULT_REVISION):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        info = api.model_info(repo_id, revision=revision)
    there = [sibling.rfilename for sibling in info.siblings or ()]
    if "config.json" in there:
        file = hf_hub_download(repo_id, "config.json", revision=info.sha, token=api.token)
        try:
            read_config(Path(file), repo_id)
        except HubError as error:
            raise HubError(f"{error}; it is not overwritten: name another repository") from error
    elif others := [name for name in there if name not in ("README.md", ".gitattributes") and of_release(name)]:
        raise HubError(f"{repo_id} holds {', '.join(others)} and no model of aura: name another repository")
    if private and not info.private:
        raise HubError(
            f"{repo_id} exists and is public: a private push would be seen by all. Make it private in its settings on the"
            " Hub, name another repository, or push without `private`"
        )
    return info


def _attempt(action: Callable[[], T], attempts: int, what: str) -> T:
    """Does it, again after faults that pass, with doubled waits or those that the Hub asks for. HubError."""
    wait_s = 1.0
    for left in reversed(range(attempts)):
        try:
            return action()
        except HubError:
            raise
        except Exception as error:
            message = refusal(error)
            if message is None and not _passes(error):
                raise
            if message is not None:
                raise HubError(f"{what}: {message}") from error
            if left == 0:
                raise HubError(f"{what}: given up after {attempts} attempts: {_short(error)}") from error
            time.sleep(min(max(wait_s, _asked_wait(error)), LONGEST_WAIT_S))
            wait_s *= 2
    raise ValueError("attempts must be at least 1")


def refusal(error: Exception) -> str | None:
    """What to do about a fault that no further attempt mends; None where one may, or where it is none of the Hub's."""
    for cause in _causes(error):
        status = _status(cause)
        if isinstance(cause, OfflineModeIsEnabled):
            return "the Hub is switched off by HF_HUB_OFFLINE, and the cache does not have it"
        if isinstance(cause, RevisionNotFoundError):
            return "there is no such revision; name a branch, a tag or a commit"
        if isinstance(cause, GatedRepoError):
            return f"its authors give access on request: ask on its page, and {LOGIN}"
        if isinstance(cause, RepositoryNotFoundError):
            return f"there is no such repository, or it is private and the token may not read it: check the name, or {LOGIN}"
        if isinstance(cause, HFValidationError):
            return str(cause)
        # The Xet client's own PermissionError has no number; that of a file here has.
        if status == 401 or (isinstance(cause, PermissionError) and cause.errno is None):
            return f"the Hub does not know who asks (401): {LOGIN}"
        if status == 403:
            return "the token may not do this (403): use one with the right to write there, or a name of your own"
        if status == 413:
            return f"too large for the Hub (413): {_short(cause)}"
        if status is not None and 400 <= status < 500 and status not in PASSING:
            return f"refused ({status}): {_short(cause)}"
    causes = list(_causes(error))
    if isinstance(error, LocalEntryNotFoundError) and not any(_status(cause) for cause in causes):
        return f"no network reaches the Hub, and the cache does not have it ({_short(causes[-1])})"
    return None


def _passes(error: Exception) -> bool:
    """Whether a fault may be gone at the next attempt: a busy or broken server, a dropped connection."""
    for cause in _causes(error):
        status = _status(cause)
        if status is not None:
            return status in PASSING or status >= 500
        # The client's HTTP library is named otherwise from one version to the next: its errors by the name of their base.
        dropped = any(base.__name__ == "TransportError" for base in type(cause).__mro__)
        if dropped or isinstance(cause, ConnectionError | TimeoutError | json.JSONDecodeError):
            return True
    return type(list(_causes(error))[-1]) is RuntimeError  # of the Xet client, which has no other for what it met


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The fault and what it was raised from: uploads in threads wrap those of the Hub."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _status(error: BaseException) -> int | None:
    response = error.response if isinstance(error, HfHubHTTPError) else None
    return None if response is None else response.status_code


def _asked_wait(error: Exception) -> float:
    """Seconds that the Hub asks to wait: Retry-After, or the rest of its window of requests."""
    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            headers = cause.response.headers
            found = re.fullmatch(r"\d+", headers.get("retry-after", "")) or re.search(
                r"r=0;\s*t=(\d+)", headers.get("ratelimit", "")
            )
            return float(found.group(found.lastindex or 0)) + 1 if found else 0.0
    return 0.0


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def _version() -> str:
    try:
        return version("aura")
    except PackageNotFoundError:
        return "unknown"
