"""The runs of chapter 1: their data, their models, and the recipes of their seeds."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import save_file
from torch.nn.functional import normalize, silu

from mobius_lib.datasets import fashion_mnist, features, hub_files
from mobius_lib.datasets.embedded import digests
from mobius_lib.datasets.store import Stored
from mobius_lib.errors import CheckpointError, DataError
from mobius_lib.ledger import judge, load_claims
from mobius_lib.runs import RUNS, RunError, execute, get_run
from mobius_lib.runs.base import Data
from mobius_lib.runs.records import file_name
from mobius_lib.runs.registry import run_at
from mobius_lib.runs.waves import arms as waves_arms
from mobius_lib.runs.waves import clip as waves_clip
from mobius_lib.runs.waves import features as waves_features
from mobius_lib.runs.waves import images as waves_images
from mobius_lib.waves import MobiusLens, MobiusNet, use_backend


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.fixture(scope="module")
def feature_data() -> Data:
    return waves_features.load()


def test_every_run_has_its_name_and_says_what_it_does():
    assert {"waves-features", "waves-images", "waves-clip", "waves-clip-weights"} <= RUNS.keys()
    for name, run in RUNS.items():
        assert run.name == name and get_run(name) is run
        assert run.summary and run.chapter >= 1 and run.arms
        made = {"few"} if name.endswith("-made") else set()  # fewer classes than the set that it stands for
        assert run.scales.keys() <= {"quick", "short", "long", "full"} | made
    for name in ("waves-features", "waves-images"):
        quick, full = (RUNS[name].scales[scale] for scale in ("quick", "full"))
        assert quick.epochs < full.epochs and quick.train_samples < 10_000 and full.train_samples is None


@pytest.mark.parametrize("name", ["waves", "", "waves_features", "Waves-features"])
def test_unknown_run(name):
    with pytest.raises(RunError, match=f"There is no run {name!r}; there are waves-features, waves-images"):
        get_run(name)


@pytest.mark.parametrize("name", ["waves-features", "waves-clip"])
def test_the_recipe_is_the_seeds(name):
    """The distillation card: AdamW 1e-3, weight decay 0.05, cosine, batch 256, 50 epochs."""
    run, full = RUNS[name], RUNS[name].scales["full"]
    assert (full.epochs, full.batch_size, full.lr, run.weight_decay) == (50, 256, 1e-3, 0.05)


def test_sizes_of_the_networks():
    """The card's network has 1.74 M parameters; of 10 classes instead of 1,000 it lacks 990 rows of 256 and a bias."""
    published = 1_745_318
    assert parameters(waves_clip.lens()) == published
    assert parameters(waves_features.lens()) == published - 990 * 257
    for runs in (waves_clip, waves_features, waves_images):
        lens, gelu = runs.lens(), runs.gelu()
        lenses = [module for module in lens.modules() if isinstance(module, MobiusLens)]
        assert len(lenses) == 6 and not any(isinstance(module, MobiusLens) for module in gelu.modules())
        # 20 scalars and a layer norm each are all that the twin lacks
        extra = sum(20 + 2 * each.gate_norm.weight.numel() for each in lenses)
        assert parameters(lens) - parameters(gelu) == extra


@pytest.mark.parametrize("make", [waves_features.lens, waves_features.gelu])
def test_features_fit_their_networks(feature_data, make):
    x, _ = feature_data.test
    with torch.no_grad():
        assert make().eval()(x[:2]).shape == (2, 10)


def test_features_as_pictures(feature_data):
    for split, (x, y) in {"train": feature_data.train, "test": feature_data.test}.items():
        rows, labels = features(split)
        assert x.shape == (len(rows), 1, 24, 32) and torch.equal(x.flatten(1), rows) and torch.equal(y, labels)
    assert feature_data.augment is None


def test_images_are_scaled_by_what_the_training_part_says():
    data = waves_images.load()
    x, _ = data.train
    # float32 sums over 7.84 million pixels
    assert x.mean().item() == pytest.approx(0, abs=1e-4) and x.std().item() == pytest.approx(1, abs=1e-4)
    for split, (scaled, labels) in {"train": data.train, "test": data.test}.items():
        raw, expected = fashion_mnist(split)
        assert torch.equal(labels, expected) and scaled.shape == (len(raw), 1, 28, 28)
        part = slice(0, 200)
        step = (scaled[part] - scaled.min()).double() / (scaled.max() - scaled.min()).double() * 255
        # one affine map for both parts: the grey levels come back (to float32's rounding at 255)
        assert torch.equal(step.round().to(torch.uint8), raw[part])
    assert data.train[0].min() == data.test[0].min(), "the same two numbers for both parts"
    with torch.no_grad():
        assert waves_images.lens().eval()(x[:2]).shape == waves_images.gelu().eval()(x[:2]).shape == (2, 10)


def test_the_record_holds_the_hashes_of_what_was_read(feature_data):
    assert feature_data.hashes == digests("features") and len(feature_data.hashes) == 2
    assert waves_images.load().hashes == digests("FashionMNIST")


def test_flip_mirrors_half_of_the_pictures():
    x = torch.arange(400 * 12.0).view(400, 1, 3, 4)
    torch.manual_seed(0)
    flipped = waves_images.flip(x)
    mirrored = (flipped == x.flip(-1)).all(dim=(1, 2, 3))
    assert torch.equal(mirrored, ~(flipped == x).all(dim=(1, 2, 3))), "each is itself or its mirror image, whole"
    assert 150 < int(mirrored.sum()) < 250  # 400 fair coins: 200, deviation 10
    torch.manual_seed(0)
    assert torch.equal(waves_images.flip(x), flipped)
    assert not torch.equal(waves_images.flip(x), flipped)


def test_linear_probe(feature_data):
    part = Data(*((x[:600], y[:600]) for x, y in (feature_data.train, feature_data.test)))
    (name, found), *rest = waves_features.linear_probe(part).items()
    assert name == "linear probe" and not rest
    assert found["parameters"] == 10 * 769
    assert list(found["held_out"]) == ["1.0", "10.0", "100.0", "1000.0"]
    assert found["held_out"][str(found["C"])] == max(found["held_out"].values())
    # 600 rows: measured 0.83, deviation 0.015; chance is 0.1
    assert 0.7 < found["accuracy"] < 0.95


@pytest.mark.parametrize("name", ["waves-features", "waves-images"])
def test_what_is_trained_to_the_end(name):
    """Every network as large as the lens's; the rows that are not trained on are tested on, and none of them twice."""
    run, short = run_at(name, "long"), run_at(name, "short")
    sizes = {arm: parameters(make()) for arm, make in run.arms.items()}
    networks = ("lens", "gelu", "plain gate", "swiglu")
    assert list(sizes) == [*networks, "mlp", "linear probe"]
    assert all(abs(sizes[arm] / sizes["lens"] - 1) < 0.01 for arm in networks)
    assert all(len(arm.rates) >= 3 for arm in run.arms.values() if arm.solve is None)
    data, known = run.data(), short.data()
    assert [len(part[1]) for part in (data.train, data.test)] == [6000, 6000]
    for part in (0, 1):
        assert torch.equal(data.test[part][:2000], known.test[part]), "whoever had no part in training has none now"
        assert torch.equal(torch.cat([data.train[part], data.test[part][2000:]]), known.train[part])
    assert run.scales["long"].train_samples == 6000 and data.hashes == known.hashes


def test_the_plain_gate_is_a_lens_without_waves():
    """The same twists and layer norm, from the same draws; the norm is of what was twisted in, and of no pattern."""
    torch.manual_seed(0)
    lens = MobiusLens(12, 1, 3)
    torch.manual_seed(0)
    plain = waves_arms.PlainGate(12, 1, 3)
    shared = dict(lens.named_parameters())
    assert all(torch.equal(value, shared[key]) for key, value in plain.named_parameters())
    x, factor = torch.randn(5, 7, 12), torch.rand(12)
    turned = lens.twist_in(x)
    expected = lens.twist_out(turned * torch.sigmoid(lens.gate_norm(turned)))
    torch.testing.assert_close(plain(x), expected)
    torch.testing.assert_close(plain(x, factor), expected * factor)


def test_swiglu():
    swiglu, x, factor = waves_arms.SwiGLULens(12), torch.randn(5, 7, 12), torch.rand(12)
    gate, value = swiglu.linear_in.weight.chunk(2)
    expected = (silu(x @ gate.T) * (x @ value.T)) @ swiglu.linear_out.weight.T
    torch.testing.assert_close(swiglu(x), expected)
    torch.testing.assert_close(swiglu(x, factor), expected * factor)
    assert parameters(swiglu) == 2 * 12**2


def test_the_probe_as_an_arm_is_the_probe(feature_data):
    part = Data(*((x[:600], y[:600]) for x, y in (feature_data.train, feature_data.test)))
    arm = run_at("waves-features", "long").arms["linear probe"]
    model = arm()
    arm.solve(model, *part.train)
    found = (model(part.test[0]).argmax(1) == part.test[1]).double().mean().item()
    assert found == pytest.approx(waves_features.linear_probe(part)["linear probe"]["accuracy"], abs=1e-9)


def test_a_morsel_of_the_real_run():
    """waves-images itself, with 8 pictures: every part fits every other."""
    result = execute(
        RUNS["waves-images"], epochs=1, train_samples=8, test_samples=8, batch_size=4, device="cpu", progress=False
    )
    assert result["configuration"]["weight_decay"] == 0.05 and len(result["data"]) == 4
    lens, gelu = (result["arms"][arm][0] for arm in ("lens", "gelu"))
    assert lens["parameters"] > gelu["parameters"] > 100_000
    assert {f"block{i}/{name}" for i in range(6) for name in ("omega", "alpha", "mean_l")} <= lens["lens_state"].keys()
    assert "block5/residual_weight" in gelu["lens_state"] and "block5/omega" not in gelu["lens_state"]


# The distillation card at full size, on a hub that is a folder.


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[MobiusNet, Path]:
    """A network of the published size, and the file of its weights."""
    torch.manual_seed(3)
    model = waves_clip.lens().eval()
    path = tmp_path_factory.mktemp("hub") / "best_model.safetensors"
    save_file(model.state_dict(), path)
    return model, path


@pytest.fixture
def weights_hub(published, monkeypatch):
    asked: list[Any] = []

    def serve(path: Path) -> list[Any]:
        def hf_hub_download(repo: str, name: str, force_download: bool) -> str:
            asked.append((repo, name))
            return str(path)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
        return asked

    return serve


KINDS = {"train": torch.float16, "validation": torch.float32}


@pytest.fixture
def clip_rows(monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = {
        split: Stored(
            normalize(torch.randn(n, 768, generator=generator)).to(KINDS[split]),
            torch.randint(1000, (n,), generator=generator),
            {f"hf://{split}.parquet": hashlib.sha256(split.encode()).hexdigest()},
        )
        for split, n in {"train": 12, "validation": 6}.items()
    }
    monkeypatch.setattr(waves_clip, "published_features", lambda split: rows[split])


def test_clip_rows_as_pictures(clip_rows):
    data = waves_clip.load()
    assert data.train[0].shape == (12, 1, 24, 32) and data.test[0].shape == (6, 1, 24, 32)
    assert data.train[0][3].float().norm().item() == pytest.approx(1, abs=1e-3)  # of half precision
    assert data.train[0].dtype == torch.float16 and data.test[0].dtype == torch.float32
    assert data.hashes.keys() == {"hf://train.parquet", "hf://validation.parquet"}
    only = waves_clip.load_validation()
    assert torch.equal(only.test[0], data.test[0]) and torch.equal(only.test[1], data.test[1])


def test_published_weights_are_judged_as_they_are(clip_rows, weights_hub, published, monkeypatch):
    """Labels that the network itself gives, one of six wrong: 5/6, without a step of training."""
    model, path = published
    asked = weights_hub(path)
    (x, _), run = waves_clip.load_validation().test, RUNS["waves-clip-weights"]
    with torch.no_grad():
        y = use_backend(model, "eager")(x).argmax(1)
    y[2] = (y[2] + 1) % 1000
    monkeypatch.setattr(waves_clip, "published_features", lambda split: Stored(x.flatten(1), y, {}))
    result = execute(run, "full", device="cpu", progress=False)
    (row,) = result["arms"]["lens"]
    assert row["final_accuracy"] == pytest.approx(5 / 6) and row["parameters"] == 1_745_318
    assert row["lens_state"]["block5/alpha"] == pytest.approx(1.5)
    assert set(asked) == {(waves_clip.WEIGHTS_REPO, waves_clip.WEIGHTS_FILE)}
    assert waves_clip.WEIGHTS_FILE.startswith("checkpoints/mobius_tiny_s_imagenet_clip_vit_l14/20260111_000512/")


@pytest.mark.parametrize(
    ("changes", "outcome"), [({}, "refuted"), ({"test_samples": 5}, "awaits"), ({"accumulate": 2}, "awaits")], ids=str
)
def test_a_few_rows_refute_nothing(clip_rows, weights_hub, published, tmp_path, changes, outcome):
    """Weights that were never trained, on all of the rows and on some: only all of them are the run's full scale."""
    weights_hub(published[1])
    name = file_name("waves-clip-weights", "full", changes)
    assert (name == "waves-clip-weights.full.json") == (not changes)
    for output in {tmp_path / name, tmp_path / "waves-clip-weights.full.json"}:  # --output may name that one
        execute(RUNS["waves-clip-weights"], "full", device="cpu", progress=False, output=output, **changes)
        (verdict,) = judge([c for c in load_claims() if c.id == "clip-top1-weights"], results_dir=tmp_path)
        assert verdict.outcome == outcome
        output.unlink()


def test_published_weights_are_told_by_revision_and_hash(clip_rows, weights_hub, published, tmp_path):
    """As the hub's client keeps them: .../snapshots/REVISION/FILE."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    path = tmp_path / "snapshots" / revision / waves_clip.WEIGHTS_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(published[1].read_bytes())
    weights_hub(path)
    result = execute(RUNS["waves-clip-weights"], "full", device="cpu", progress=False)
    assert result["data"] == {"hf://validation.parquet": hashlib.sha256(b"validation").hexdigest()}, "of rows the same"
    told = result["weights"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    where = {"repository": waves_clip.WEIGHTS_REPO, "file": waves_clip.WEIGHTS_FILE}
    assert told == where | {"revision": revision, "sha256": digest}


def test_published_weights_that_are_none(weights_hub, published, tmp_path, monkeypatch):
    path = published[1]
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-1000])
    weights_hub(cut)
    with pytest.raises(DataError, match=r"best_model\.safetensors came damaged twice; .* try another network"):
        waves_clip.published()
    save_file(MobiusNet(num_classes=10, channels=(4,), depths=(1,)).state_dict(), tmp_path / "small.safetensors")
    weights_hub(tmp_path / "small.safetensors")
    with pytest.raises(CheckpointError, match="another model"):
        waves_clip.published()


@pytest.mark.parametrize("damage", ["a bit", "the end"])
def test_published_weights_that_are_damaged_in_the_cache_are_fetched_anew(published, tmp_path, monkeypatch, damage):
    """As the hub's client keeps them: a link to a file that has their SHA-256 for its name."""
    content = published[1].read_bytes()
    blob, link = tmp_path / hashlib.sha256(content).hexdigest(), tmp_path / "best_model.safetensors"
    blob.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:] if damage == "a bit" else content[:-9])
    link.symlink_to(blob)
    asked = []

    def hf_hub_download(*_: str, force_download: bool) -> str:
        asked.append(force_download)
        if force_download:
            blob.write_bytes(content)
        return str(link)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    model = waves_clip.published()
    assert asked == [False, True]
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in published[0].state_dict().items())


@pytest.mark.parametrize(
    ("error", "calls", "words"),
    [
        (ConnectionError("no route to host"), 6, r"fetched \(ConnectionError: no route to host\); connect"),
        (404, 1, f"https://huggingface.co/{waves_clip.WEIGHTS_REPO} shows what is there"),
        (403, 1, "hf auth login"),
        (503, 6, "the same command goes on"),
        (OSError(28, "No space left on device"), 1, r"cannot be kept \(.*: no space left on device\); .* HF_HOME"),
    ],
    ids=str,
)
def test_published_weights_that_cannot_be_had(monkeypatch, error, calls, words):
    asked = []

    def away(*_: object, **__: object) -> None:
        asked.append(1)
        if isinstance(error, int):
            response = httpx.Response(error, request=httpx.Request("GET", "http://hub"))
            raise HfHubHTTPError(f"{error} of the hub", response=response)
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", away)
    monkeypatch.setattr(hub_files, "PAUSE", 0.0)
    with pytest.raises(DataError, match=words) as raised:
        execute(replace(RUNS["waves-clip-weights"], data=lambda: waves_features.load()), "full", progress=False)
    assert "\n" not in str(raised.value) and len(asked) == calls
