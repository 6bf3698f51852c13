"""The MobiusNet card's trainer on a handful of small images, and its dealings with a hub that lives in a folder."""

import fnmatch
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from PIL import Image

from mobius_lib.errors import CheckpointError, DataError, MobiusError
from mobius_lib.runs.waves import trainer as tiny_imagenet
from mobius_lib.runs.waves.trainer import train_tiny_imagenet
from mobius_lib.training import hub, read
from mobius_lib.training.hub import HubError
from mobius_lib.waves import PRESETS, GELUTwin, Preset

ROOT = Path(__file__).parents[3]
WNIDS = ("n01", "n02")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset of one narrow block: what is tested here does not depend on the width."""
    monkeypatch.setitem(PRESETS, "small", Preset(3, (6,), (1,), (0.25, 2.75)))
    monkeypatch.setattr(hub, "PAUSE", 0.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root, draw = tmp_path / "data", np.random.default_rng(0)

    def save(path: Path, bright: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(90 * bright, 90 * bright + 120, (8, 8, 3), dtype=np.uint8)).save(path)

    for c, wnid in enumerate(WNIDS):
        for i in range(8):
            save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", c)
    for i in range(6):
        save(root / "val" / "images" / f"val_{i}.JPEG", i % 2)
    (root / "val" / "val_annotations.txt").write_text("".join(f"val_{i}.JPEG\t{WNIDS[i % 2]}\n" for i in range(6)))
    (root / "wnids.txt").write_text("\n".join(WNIDS))
    return root


@pytest.fixture
def train(data: Path, tmp_path: Path):
    def call(**changes: Any) -> SimpleNamespace:
        arguments = {"preset": "small", "epochs": 4, "lr": 0.01, "batch_size": 4, "save_every_n_epochs": 2, "size": 8}
        arguments |= {"data_dir": data, "output_dir": tmp_path / "outputs", "workers": 0, "device": "cpu"}
        model, accuracy = train_tiny_imagenet(**{**arguments, "progress": False, **changes})
        return SimpleNamespace(model=model, accuracy=accuracy)

    return call


def runs(tmp_path: Path, name: str = "small_tiny_imagenet") -> list[Path]:
    return sorted((tmp_path / "outputs" / "checkpoints" / name).glob("[0-9]*"))


class Hub:
    """A hub in a folder. `failures` are raised by the next calls, one each; `damage` alters what is downloaded."""

    def __init__(self, root: Path) -> None:
        self.root, self.failures, self.calls, self.damage = root, [], [], None

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.failures:
            raise self.failures.pop(0)

    def whoami(self) -> dict[str, Any]:
        return {"name": "me"}

    def create_repo(self, repo_id: str, exist_ok: bool) -> None:
        (self.root / repo_id).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, repo_id: str, folder_path: str, path_in_repo: str, **_: Any) -> None:
        self._call("upload")
        shutil.copytree(folder_path, self.root / repo_id / path_in_repo, dirs_exist_ok=True)

    def repo_info(self, repo_id: str, timeout: float) -> SimpleNamespace:
        self._call("list")
        base = self.root / repo_id
        names = sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    def snapshot_download(self, repo_id: str, allow_patterns: list[str], local_dir: str) -> str:
        self._call("download")
        base = self.root / repo_id
        for path in base.rglob("*"):
            name = str(path.relative_to(base))
            if path.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                target = Path(local_dir) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        if self.damage is not None:
            self.damage(Path(local_dir))
        return local_dir


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub(tmp_path / "cloud")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    return fake


def http_error(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    return kind(f"{status} from the hub", response=httpx.Response(status, request=httpx.Request("GET", "https://hub")))


class Stop(Exception):
    pass


@pytest.fixture
def interrupted(train, tmp_path, monkeypatch):
    """A run's folder, its run killed after the third of four epochs."""

    def fit(*args: Any, on_epoch: Any, **options: Any) -> Any:
        def callback(record: dict) -> None:
            on_epoch(record)
            if record["epoch"] == 3:
                raise Stop

        return original(*args, on_epoch=callback, **options)

    original = tiny_imagenet.fit
    monkeypatch.setattr(tiny_imagenet, "fit", fit)
    with pytest.raises(Stop):
        train()
    monkeypatch.setattr(tiny_imagenet, "fit", original)
    return runs(tmp_path)[0]


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run(train, tmp_path):
    done = train()
    (folder,) = runs(tmp_path)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        f"{name}.{ending}"
        for name in ("best_model", "final_model", "checkpoint_epoch_0002", "checkpoint_epoch_0004")
        for ending in ("pt", "safetensors")
    }
    assert done.accuracy == json.loads((folder / "best_accuracy.json").read_text())["accuracy"]
    best = read(folder / "checkpoints" / "best_model.pt")["model"]
    assert all(torch.equal(value, best[name]) for name, value in done.model.state_dict().items())
    assert not done.model.training and done.model.head.out_features == 2
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["preset"] == "small" and config["config"]["classes"] == list(WNIDS)
    assert config["recipe"]["weight_decay"] == 0.05


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_a_damaged_best_model_is_read_from_the_file_beside_it(train, tmp_path, caplog):
    done = train()
    (folder,) = runs(tmp_path)
    cut(folder / "checkpoints" / "best_model.pt")
    with caplog.at_level(logging.WARNING):
        again = train(continue_from=folder)
    assert same_weights(again.model, done.model) and again.accuracy == done.accuracy
    assert "best_model.pt is truncated or damaged. It is passed over." in caplog.text
    (folder / "checkpoints" / "best_model.pt").unlink()
    assert same_weights(train(continue_from=folder).model, done.model)

    cut(folder / "checkpoints" / "best_model.safetensors")
    with pytest.raises(CheckpointError, match=r"Neither best_model\.pt nor .* can be read; restore one") as error:
        train(continue_from=folder)
    assert "\n" not in str(error.value) and str(folder / "checkpoints") in str(error.value)


def test_inference_snippet_of_the_seed(train, tmp_path):
    from safetensors.torch import load_file

    from mobius_lib import PRESETS, MobiusNet

    done = train()
    model = MobiusNet(num_classes=2, use_integrator=True, **PRESETS["small"])
    model.load_state_dict(load_file(runs(tmp_path)[0] / "checkpoints" / "best_model.safetensors"))
    model.eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(x), done.model(x))


def test_seed_and_nothing_else_decides(train):
    """Neither the caller's generator nor the number of workers."""
    torch.manual_seed(1)
    first = train(epochs=2)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = train(epochs=2, workers=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert same_weights(first.model, second.model)
    assert not same_weights(first.model, train(epochs=2, seed=1).model)


def test_two_runs_in_one_second(train, tmp_path):
    for _ in range(3):
        tiny_imagenet._new_folder(tmp_path / "outputs" / "checkpoints" / "small_tiny_imagenet")
    assert len(runs(tmp_path)) == 3


def test_twin_and_another_folder_of_images(train, data, tmp_path):
    pets = tmp_path / "pets"
    for c, wnid in enumerate(WNIDS):
        shutil.copytree(data / "train" / wnid / "images", pets / "train" / wnid)
        (pets / "val" / wnid).mkdir(parents=True)
        for i in range(c, 6, 2):
            shutil.copy(data / "val" / "images" / f"val_{i}.JPEG", pets / "val" / wnid)
    lens, twin = train(data_dir=pets, epochs=1), train(data_dir=pets, epochs=1, twin=True, use_integrator=False)
    assert isinstance(twin.model, GELUTwin) and not isinstance(lens.model, GELUTwin)
    assert len(runs(tmp_path, "small_pets")) == len(runs(tmp_path, "small_gelu_pets")) == 1


@pytest.mark.parametrize("how", ["path", "string", "below output_dir"])
def test_continue_from_a_folder(train, interrupted, tmp_path, how):
    given = {
        "path": interrupted,
        "string": str(interrupted),
        "below output_dir": f"checkpoints/{interrupted.parent.name}/{interrupted.name}",
    }[how]
    parts = train(continue_from=given)
    assert runs(tmp_path) == [interrupted], "it goes on in place"
    whole = train()
    assert same_weights(parts.model, whole.model) and parts.accuracy == whole.accuracy
    finals = [read(folder / "checkpoints" / "final_model.pt")["model"] for folder in runs(tmp_path)]
    assert len(finals) == 2 and all(torch.equal(finals[0][name], finals[1][name]) for name in finals[0])


def test_uploads(train, cloud, tmp_path):
    train(hf_repo="me/mobius", upload_every_n_epochs=2, epochs=5)
    assert cloud.calls == ["upload"] * 3, "after epochs 2 and 4, and at the end"
    (folder,) = runs(tmp_path)
    there = cloud.root / "me/mobius" / "checkpoints" / folder.parent.name / folder.name
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert {str(path.relative_to(there)) for path in there.rglob("*")} == names


def test_nothing_is_uploaded_unasked(train, cloud):
    train()
    assert cloud.calls == []


def test_failing_uploads_cost_a_retry_or_a_warning(train, cloud, caplog, tmp_path):
    slow, refused = httpx.ReadTimeout("The read operation timed out"), http_error(HfHubHTTPError, 403)
    cloud.failures = [slow, http_error(HfHubHTTPError, 503)]  # the third attempt succeeds
    train(hf_repo="me/mobius", upload_every_n_epochs=4)
    assert cloud.calls == ["upload"] * 3 and not caplog.records
    cloud.calls.clear()
    cloud.failures = [slow] * 3 + [refused]  # after epoch 2 all three, at the end one that needs no second try
    done = train(hf_repo="me/mobius", upload_every_n_epochs=2)
    assert cloud.calls == ["upload"] * 4
    assert len(caplog.records) == 2 and all("The run goes on" in record.message for record in caplog.records)
    assert "ReadTimeout: The read operation timed out" in caplog.records[0].message
    assert "403 from the hub" in caplog.records[1].message
    assert all("\n" not in record.message for record in caplog.records)
    assert done.accuracy > 0 and (runs(tmp_path)[-1] / "final_accuracy.json").is_file()


@pytest.mark.parametrize("repo", ["mobius", "me/", "me/a/b", "other/mobius"])
def test_a_repository_that_cannot_be_is_told_before_training(train, cloud, tmp_path, repo):
    with pytest.raises(HubError, match=r"names no repository of the hub|has no place other; name me/mobius"):
        train(hf_repo=repo)
    assert runs(tmp_path) == [] and cloud.calls == []


def test_hub_that_never_answers(train, cloud, caplog, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(cloud, "upload_folder", lambda **_: answer.wait())
    monkeypatch.setattr(hub, "UPLOAD_SECONDS", 0.1)
    train(hf_repo="me/mobius", upload_every_n_epochs=2)
    answer.set()
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2 and "no answer for" in messages[0] and "the one before has not ended" in messages[1]


def test_continue_from_the_hub(train, interrupted, cloud, tmp_path):
    path = f"checkpoints/{interrupted.parent.name}/{interrupted.name}"
    for repo in ("me/mobius", tiny_imagenet.PUBLISHED):
        shutil.copytree(interrupted, cloud.root / repo / path)
    shutil.copytree(interrupted, cloud.root / "me/mobius" / "checkpoints" / "other" / "run")
    shutil.rmtree(interrupted)
    parts = train(continue_from=path, hf_repo="me/mobius")
    assert runs(tmp_path) == [interrupted] and cloud.calls == ["list", "download", "upload"]
    assert [p.name for p in interrupted.parent.iterdir()] == [interrupted.name], "nothing else is left there"
    assert (cloud.root / "me/mobius" / path / "final_accuracy.json").is_file()
    shutil.rmtree(interrupted)
    again = train(continue_from=path)  # no repository named: the published one, and nothing is uploaded
    assert cloud.calls[3:] == ["list", "download"]
    assert not (cloud.root / tiny_imagenet.PUBLISHED / path / "final_accuracy.json").exists()
    assert same_weights(parts.model, again.model) and same_weights(parts.model, train().model)


@pytest.fixture
def published(interrupted, cloud) -> str:
    """The path of a run that is on the hub only."""
    path = f"checkpoints/{interrupted.parent.name}/{interrupted.name}"
    shutil.copytree(interrupted, cloud.root / "me/mobius" / path)
    shutil.rmtree(interrupted)
    return path


def truncate(name: str, times: int):
    left = [times]

    def damage(folder: Path) -> None:
        left[0] -= 1
        if left[0] >= 0:
            for path in folder.rglob(name):
                path.write_bytes(path.read_bytes()[:-200])

    return damage


@pytest.mark.parametrize("name", ["checkpoint_epoch_0002.pt", "best_model.pt", "*.safetensors"])
def test_lying_hub(train, published, cloud, tmp_path, name):
    """A damaged file is fetched again; if it stays damaged nothing is put in place."""
    cloud.damage = truncate(name, 99)
    with pytest.raises(HubError, match=r"The download of checkpoints/.* from me/mobius failed: .* damaged\."):
        train(continue_from=published, hf_repo="me/mobius")
    assert cloud.calls == ["list", "download"] * 3
    assert list((tmp_path / "outputs" / published).parent.iterdir()) == []
    cloud.damage = truncate(name, 1)
    assert train(continue_from=published, hf_repo="me/mobius").accuracy > 0


def test_hidden_files_on_the_hub_are_no_checkpoints(train, published, cloud):
    """A Mac uploads such a file beside each of its own."""
    for ending in ("pt", "safetensors"):
        (cloud.root / "me/mobius" / published / "checkpoints" / f"._best_model.{ending}").write_bytes(b"Mac OS X")
    assert train(continue_from=published, hf_repo="me/mobius").accuracy > 0


def test_hub_that_leaves_files_out(train, published, cloud):
    cloud.damage = lambda folder: next(folder.rglob("checkpoint_epoch_0002.pt")).unlink()
    with pytest.raises(HubError, match=r"The file .*checkpoint_epoch_0002\.pt did not arrive"):
        train(continue_from=published, hf_repo="me/mobius")


def test_slow_then_good(train, published, cloud):
    cloud.failures = [httpx.ConnectTimeout("timed out"), http_error(HfHubHTTPError, 504)]
    assert train(continue_from=published, hf_repo="me/mobius").accuracy > 0


@pytest.mark.parametrize(
    ("failure", "calls", "words"),
    [
        (httpx.ConnectError("Name or service not known"), 3, "ConnectError: Name or service not known"),
        (http_error(RepositoryNotFoundError, 404), 1, "RepositoryNotFoundError: 404 from the hub"),
        (http_error(HfHubHTTPError, 401), 1, "401 from the hub"),
    ],
    ids=["no network", "no repository", "no access"],
)
def test_absent_hub(train, published, cloud, failure, calls, words):
    cloud.failures = [failure] * 3
    with pytest.raises(HubError, match=rf"There is no run folder {published} here or in .*{words}") as raised:
        train(continue_from=published, hf_repo="me/mobius")
    assert len(cloud.calls) == calls and "\n" not in str(raised.value)


def test_what_is_not_a_run_on_the_hub(train, cloud, published):
    with pytest.raises(HubError, match="there is no folder checkpoints/nothing in it"):
        train(continue_from="checkpoints/nothing", hf_repo="me/mobius")
    with pytest.raises(HubError, match="no path inside a repository"):
        train(continue_from="checkpoints/../../secret", hf_repo="me/mobius")
    there = cloud.root / "me/mobius" / published / "checkpoints"
    for path in there.glob("*.pt"):
        torch.save({"model_state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="no training checkpoint of this library"):
        train(continue_from=published, hf_repo="me/mobius")
    for path in there.glob("*.pt"):
        path.unlink()
    with pytest.raises(CheckpointError, match="holds no checkpoint to continue from"):
        train(continue_from=published, hf_repo="me/mobius")


@pytest.mark.parametrize("path", ["./outputs/nowhere", "/nowhere", "~/nowhere", "../nowhere"])
def test_a_local_path_that_is_not_there_is_not_sought_on_the_hub(train, cloud, path):
    with pytest.raises(CheckpointError, match=r"There is no run folder .*nowhere to continue from"):
        train(continue_from=path)
    assert cloud.calls == []


def test_clear_errors(train, tmp_path):
    with pytest.raises(MobiusError, match=r"no preset 'mobius_huge'; the presets are mobius_tiny_s, .*mobius_base"):
        train(preset="mobius_huge")
    with pytest.raises(MobiusError, match="'mobius_tiny_s_clip' takes 1 channel, and images have three"):
        train(preset="mobius_tiny_s_clip")
    with pytest.raises(DataError, match="wget"):
        train(data_dir=tmp_path / "nowhere")
    with pytest.raises(MobiusError, match="lr must be a number above 0"):
        train(lr=0)
    with pytest.raises(MobiusError, match="upload_every_n_epochs must be at least 1"):
        train(upload_every_n_epochs=0)
    with pytest.raises(MobiusError, match="precision="):
        train(precision="fp16")
    assert runs(tmp_path) == [], "a call that could not begin leaves no empty run behind"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be made"):
        train(output_dir=tmp_path / "file")


def test_unreadable_image_stops_with_its_name(train, data):
    bad = data / "train" / "n02" / "images" / "n02_3.JPEG"
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(DataError, match=r"^The image .*n02_3\.JPEG cannot be read .*\.$"):
        train(workers=2)


def test_real_client_without_a_network(tmp_path):
    """huggingface_hub itself, sent to a port where nobody listens."""
    code = (
        "import sys; from mobius_lib.training import hub\n"
        "hub.PAUSE = 0\n"
        "try: hub.download('me/mobius', 'checkpoints/a/b', sys.argv[1])\n"
        "except hub.HubError as error: print(error)\n"
        "from pathlib import Path; Path(sys.argv[1], 'run').mkdir()\n"
        "print(hub.Uploader(Path(sys.argv[1], 'run'), 'me/mobius', 'x').upload('message'))\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT), "HF_TOKEN": "hf_none"}
    environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    lines = run.stdout.splitlines()
    assert len(lines) == 2, run.stderr
    assert lines[0].startswith("The download of checkpoints/a/b from me/mobius failed: ") and "Connect" in lines[0]
    assert lines[1] == "False" and "The run goes on" in run.stderr


def test_defaults_are_the_seeds():
    import inspect

    defaults = {name: p.default for name, p in inspect.signature(train_tiny_imagenet).parameters.items()}
    seed = {"preset": "mobius_base", "epochs": 200, "lr": 3e-4, "batch_size": 128, "use_integrator": True}
    seed |= {"data_dir": "./data/tiny-imagenet-200", "output_dir": "./outputs", "hf_repo": None, "continue_from": None}
    seed |= {"save_every_n_epochs": 10, "upload_every_n_epochs": 10}
    assert {name: defaults[name] for name in seed} == seed
    assert logging.getLogger("mobius_lib").level == logging.NOTSET
