"""Pushes and downloads by the real client of the Hugging Face Hub, against a small Hub on this machine."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from aura import hub as functions
from tests.hub_client import Client
from tests.hub_server import Hub

STREAMS = ("imu", "video", "video_depth", "text")


@pytest.fixture(scope="module")
def hub():
    with Hub() as started:
        yield started


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    started = Client(hub.url, tmp_path_factory.mktemp("home"))
    yield started
    started.close()


@pytest.fixture(autouse=True)
def fresh(hub):
    hub.forget()


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "release")


@pytest.fixture
def repo(request):
    """A name that no other test uses."""
    return "user/" + re.sub(r"\W+", ".", request.node.name).strip(".")


def write_release(folder, seed=0):
    """A release folder of four streams; its towers are large enough to go by LFS."""
    (folder / "towers").mkdir(parents=True)
    (folder / "tokenizer").mkdir()
    generator = torch.Generator().manual_seed(seed)
    config = {"format": "aura-model/1", "name": "tiny", "towers": {stream: {"kind": "any"} for stream in STREAMS}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# tiny\n")
    (folder / "training_data.npz").write_bytes(b"hashes")
    (folder / "tokenizer" / "vocab.json").write_text("{}")
    for i, stream in enumerate(STREAMS):
        weights = torch.randn(4000 + i, generator=generator)
        save_file(
            {"tower.weight": weights, "head.weight": weights[:5].clone()}, folder / f"towers/{stream}.safetensors"
        )
    save_file({"log_scale": torch.randn((), generator=generator)}, folder / "shared.safetensors")
    save_file({"embeddings": torch.randn(3, 4, generator=generator)}, folder / "phrases.safetensors")
    return folder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def error_of(client, call, **arguments):
    with pytest.raises(RuntimeError) as caught:
        client(call, **arguments)
    return str(caught.value)


def test_pushed_is_loaded_back_bit_for_bit_by_one_commit(hub, client, release, repo):
    pushed = client("push_folder", folder=release, repo_id=repo, message="first")
    log = hub.repositories[repo].log()
    assert [commit.message for commit in log] == ["first", "initial commit"]
    assert pushed["oid"] == log[0].oid
    assert pushed["url"].endswith(pushed["oid"])
    assert pushed["files"] == {name: len(data) for name, data in contents(release).items()}
    assert hub.files(repo) == contents(release)
    assert log[0].files["towers/imu.safetensors"].lfs
    assert not hub.repositories[repo].private
    folder = Path(client("download", repo_id=repo))
    assert contents(folder) == contents(release)
    for stream in STREAMS:
        mine, back = (load_file(place / f"towers/{stream}.safetensors") for place in (release, folder))
        assert all(torch.equal(mine[name], back[name]) for name in mine)


def test_only_the_wanted_towers_come_down(hub, client, release, repo):
    client("push_folder", folder=release, repo_id=repo)
    hub.make(
        repo, {"pytorch_model.bin": b"x" * 20, "towers/old.bin": b"y", "tokenizer/evil.pkl": b"z", "notes.txt": b"t"}
    )
    hub.forget()
    folder = Path(client("download", repo_id=repo, modalities=["video", "text"]))
    fetched = {r.path.partition("/resolve/")[2].partition("/")[2] for r in hub.asked("^(GET|HEAD) .*/resolve/")}
    expected = {"config.json", "README.md", "shared.safetensors", "phrases.safetensors", "tokenizer/vocab.json"}
    expected |= {"training_data.npz"}
    expected |= {f"towers/{stream}.safetensors" for stream in ("video", "video_depth", "text")}
    assert fetched == expected == set(contents(folder))
    assert len(hub.asked("^GET /cdn/")) == 3
    assert all(r.token is None for r in hub.asked("/cdn/")), "the token stays with the Hub"
    hub.forget()
    folder = Path(client("download", repo_id=repo, modalities=["imu"]))
    assert len(hub.asked("^GET /cdn/")) == 1, "what was fetched before is in the cache"
    assert "no tower of mocap; it has imu, video" in error_of(client, "download", repo_id=repo, modalities=["mocap"])


def test_a_revision_is_a_branch_or_a_commit(hub, client, tmp_path, repo):
    old, new = write_release(tmp_path / "old"), write_release(tmp_path / "new", seed=1)
    first = client("push_folder", folder=old, repo_id=repo)
    second = client("push_folder", folder=new, repo_id=repo, revision="next")
    assert hub.files(repo) == contents(old)
    assert hub.files(repo, "next") == contents(new)
    assert [c.oid for c in hub.repositories[repo].log("next")][:2] == [second["oid"], first["oid"]]
    for revision, release in ((None, old), ("next", new), (first["oid"], old), (second["oid"], new)):
        assert contents(Path(client("download", repo_id=repo, revision=revision))) == contents(release)
    assert "no such revision" in error_of(client, "download", repo_id=repo, revision="nowhere")
    # A first push to a branch of a repository that does not exist.
    client("push_folder", folder=new, repo_id=f"{repo}.new", revision="next")
    assert hub.files(f"{repo}.new", "next") == contents(new)


def test_stale_files_go_in_the_same_commit_and_those_of_others_stay(hub, client, release, repo):
    client("push_folder", folder=release, repo_id=repo)
    hub.make(
        repo, {"demo/app.py": b"print()", "notes.txt": b"keep", "towers/deep/x.safetensors": b"old", "a.onnx": b"o"}
    )
    (release / "towers/video.safetensors").unlink()
    (release / "phrases.safetensors").unlink()
    pushed = client("push_folder", folder=release, repo_id=repo, message="smaller")
    stale = {"towers/video.safetensors", "phrases.safetensors", "towers/deep/x.safetensors"}
    assert set(pushed["deleted"]) == stale
    assert hub.files(repo) == contents(release) | {"demo/app.py": b"print()", "notes.txt": b"keep", "a.onnx": b"o"}
    assert [commit.message for commit in hub.repositories[repo].log()][:2] == ["smaller", "by hand"]


def test_an_unchanged_folder_makes_no_commit(hub, client, release, repo):
    first = client("push_folder", folder=release, repo_id=repo)
    hub.forget()
    assert client("push_folder", folder=release, repo_id=repo)["oid"] == first["oid"]
    assert not hub.asked("PUT|/commit/")


@pytest.mark.parametrize("part", [None, 3000])
def test_a_dropped_upload_goes_on(hub, client, release, repo, part, monkeypatch):
    """Every attempt of one file fails, the client's own six too; the next attempt sends that file alone."""
    for path in (release / "towers").iterdir():  # content that no other test uploaded
        save_file({"tower.weight": torch.randn(4000)}, path)
    monkeypatch.setattr(hub, "part", part)
    oid = functions.CommitOperationAdd("x", str(release / "towers/text.safetensors")).upload_info.sha256.hex()
    hub.fail(f"PUT /lfs/{oid}", "drop", times=6)
    client("push_folder", folder=release, repo_id=repo)
    assert hub.files(repo) == contents(release)
    whole = [r.path for r in hub.asked("PUT /lfs/") if r.status == 200]
    assert len(whole) == len(set(whole)) == (4 if part is None else 4 * 6), "nothing was sent twice"
    assert len(hub.repositories[repo].log()) == 2
    assert client.waits[-1] == 1


@pytest.mark.parametrize("where", ["GET /api/models", "POST /api/repos/create", "preupload", "objects/batch", "commit"])
@pytest.mark.parametrize("kind", [429, 500, 503, "drop"])
def test_faults_that_pass_are_tried_again(hub, client, release, repo, where, kind):
    save_file({"log_scale": torch.randn(3000)}, release / "shared.safetensors")  # a large file that the Hub lacks
    hub.fail(where, kind, times=2, **({"Retry_After": "7"} if kind == 429 else {}))
    client("push_folder", folder=release, repo_id=repo)
    assert hub.files(repo) == contents(release)
    assert len(hub.repositories[repo].log()) == 2
    assert client.waits[:2] == ([8, 8] if kind == 429 else [1, 2])


def test_a_lock_of_another_push_is_waited_for(hub, client, release, repo):
    hub.fail("POST .*/commit/", 409, times=3)
    client("push_folder", folder=release, repo_id=repo)
    assert len(hub.repositories[repo].log()) == 2
    assert client.waits == [1, 2, 4]


def test_a_commit_whose_answer_is_lost_is_not_made_again(hub, client, release, repo):
    hub.fail("POST .*/commit/", "lose")
    pushed = client("push_folder", folder=release, repo_id=repo)
    log = hub.repositories[repo].log()
    assert len(log) == 2
    assert pushed["oid"] == log[0].oid


def test_a_push_in_between_is_a_conflict_and_tried_with_the_new_head(hub, client, release, repo):
    client("push_folder", folder=release, repo_id=repo)
    (release / "towers/imu.safetensors").unlink()
    save_file({"log_scale": torch.tensor(2.0)}, release / "shared.safetensors")
    hub.forget()
    hub.before("POST .*/commit/", lambda: hub.make(repo, {"towers/mocap.safetensors": b"theirs", "theirs.txt": b"t"}))
    pushed = client("push_folder", folder=release, repo_id=repo, message="mine")
    assert [r.status for r in hub.asked("POST .*/commit/")] == [412, 200]
    assert [commit.message for commit in hub.repositories[repo].log()][:2] == ["mine", "by hand"]
    assert hub.files(repo) == contents(release) | {"theirs.txt": b"t"}
    assert set(pushed["deleted"]) == {"towers/imu.safetensors", "towers/mocap.safetensors"}, "of the new head"


@pytest.mark.parametrize(
    ("status", "says"), [(401, "hf auth login"), (403, "right to write"), (413, "too large"), (400, "refused (400)")]
)
def test_refusals_are_not_tried_again(hub, client, release, repo, status, says):
    client("push_folder", folder=release, repo_id=repo)
    save_file({"log_scale": torch.tensor(2.0)}, release / "shared.safetensors")
    hub.forget()
    hub.fail("POST .*/commit/", status, times=9)
    message = error_of(client, "push_folder", folder=release, repo_id=repo)
    assert message.startswith("HubError: ")
    assert says in message
    assert repo in message
    assert len(hub.asked("POST .*/commit/")) == 1
    assert client.waits == []


def test_attempts_are_bounded(hub, client, release, repo):
    hub.fail("POST .*/commit/", 503, times=99)
    assert "given up after 3 attempts" in error_of(client, "push_folder", folder=release, repo_id=repo, attempts=3)
    assert len(hub.asked("POST .*/commit/")) == 3
    assert client.waits == [1, 2]


def test_tokens(hub, client, release, repo):
    assert "may not do this (403)" in error_of(client, "push_folder", folder=release, repo_id=repo, token="hf_reader")
    assert "hf auth login" in error_of(client, "push_folder", folder=release, repo_id=repo, token="hf_wrong")
    assert repo not in hub.repositories
    client("push_folder", folder=release, repo_id=repo, private=True)
    assert hub.repositories[repo].private
    assert contents(Path(client("download", repo_id=repo, token="hf_reader"))) == contents(release)
    assert "may not do this (403)" in error_of(
        client, "push_folder", folder=write_release(release / "b", 5), repo_id=repo, token="hf_reader"
    )


def test_a_private_push_does_not_go_to_a_public_repository(hub, client, release, repo):
    hub.make(repo, {})
    hub.forget()
    message = error_of(client, "push_folder", folder=release, repo_id=repo, private=True)
    assert "is public" in message
    assert not hub.asked("POST|PUT")


def test_a_dry_run_asks_no_network(hub, client, release, repo):
    pushed = client("push_folder", folder=release, repo_id=repo, dry_run=True)
    assert pushed["files"] == {name: len(data) for name, data in contents(release).items()}
    assert pushed["oid"] == ""
    assert hub.requests == []


def test_what_is_no_release_is_not_pushed(release):
    (release / "towers/model.bin").write_bytes(b"pickle")
    with pytest.raises(functions.HubError, match=r"towers/model\.bin may run code"):
        functions.push_folder(release, "user/x", dry_run=True)
    (release / "towers/model.bin").unlink()
    (release / ".cache").mkdir()
    (release / ".cache/secret").write_text("s")
    assert ".cache/secret" not in functions.push_folder(release, "user/x", dry_run=True).files
    with pytest.raises(functions.HubError, match="write user/name"):
        functions.push_folder(release, "x", dry_run=True)
    (release / "config.json").write_text('{"format": "other"}')
    with pytest.raises(functions.HubError, match="no format aura-model/1"):
        functions.push_folder(release, "user/x", dry_run=True)
    (release / "config.json").unlink()
    with pytest.raises(functions.HubError, match="not a release folder"):
        functions.push_folder(release, "user/x", dry_run=True)


def test_downloads_that_cannot_be(hub, client, release, repo):
    assert "no such repository, or it is private" in error_of(client, "download", repo_id=repo)
    hub.make(repo, {"model.safetensors": b"w"})
    assert "has no config.json: it holds no model of aura" in error_of(client, "download", repo_id=repo)
    hub.make(repo, {"config.json": b'{"model_type": "bert"}'})
    assert "is no model of aura: its config.json has no format aura-model/1; it is of a bert" in error_of(
        client, "download", repo_id=repo
    )
    hub.make(repo, {"config.json": b'{"format": "aura-model/9", "towers": {}}'})
    assert "is of format aura-model/9, written by aura ?" in error_of(client, "download", repo_id=repo)
    hub.make(repo, {"config.json": b'{"format": "aura-model/1", "towers": {"imu": {}}}'})
    assert "lacks towers/imu.safetensors" in error_of(client, "download", repo_id=repo)


@pytest.mark.parametrize(("where", "kind"), [("GET /cdn/", "cut"), ("/tree/", 503), ("HEAD .*/resolve/", 500)])
def test_a_broken_download_goes_on(hub, client, tmp_path, repo, where, kind):
    release = write_release(tmp_path / "release", seed=hash(where) % 1000)
    client("push_folder", folder=release, repo_id=repo)
    hub.forget()
    hub.fail(where, kind, times=2)
    assert contents(Path(client("download", repo_id=repo))) == contents(release)
    assert len(hub.asked(where)) > 2


def test_without_a_network_the_cache_serves(hub, release, repo, tmp_path):
    online = Client(hub.url, tmp_path / "home")
    try:
        online("push_folder", folder=release, repo_id=repo)
        online("download", repo_id=repo, modalities=["imu"])
    finally:
        online.close()
    for setting in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        offline = Client(hub.url, tmp_path / "home", **setting)
        try:
            folder = Path(offline("download", repo_id=repo, modalities=["imu"]))
            assert (folder / "towers/imu.safetensors").read_bytes() == (release / "towers/imu.safetensors").read_bytes()
            assert not (folder / "towers/text.safetensors").exists()
            for wanted in ({"repo_id": repo, "modalities": ["text"]}, {"repo_id": "user/never"}):
                message = error_of(offline, "download", **wanted)
                assert ("HF_HUB_OFFLINE" if "HF_HUB_OFFLINE" in setting else "no network reaches the Hub") in message
                assert len(offline.waits) <= 5, "those of the client, for one file; none for the whole"
            assert "Hub" in error_of(offline, "push_folder", folder=release, repo_id=repo, attempts=2)
        finally:
            offline.close()


def test_names_of_a_release():
    assert all(
        map(functions.of_release, ("config.json", "shared.safetensors", "towers/x.safetensors", "tokenizer/a.txt"))
    )
    assert not any(map(functions.of_release, ("notes.md", "demo/a.safetensors", "sub/config.json", ".gitattributes")))
