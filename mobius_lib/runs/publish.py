"""A finished run as a model repository of the hub holds it: its weights in the source's layout, and a card.

    README.md                           the card, from the record; its head is what the hub's search reads
    record.json                         the record
    checkpoints/RUN_ARM-seedN/STAMP/    as MobiusNet's two cards have it: config.json, best_accuracy.json,
                                        final_accuracy.json, tensorboard/, and
        checkpoints/                    best_model.safetensors, final_model.safetensors

A language model of chapter 5 is one file there, checkpoints/…/model.safetensors, from which `mobius generate` writes. A
GeoFractalDavid goes where its card has it, as `train_david` would have left it: weights/NAME/STAMP_ARM-seedN/ and
runs/NAME/STAMP_ARM-seedN/. Optimiser states and pickles stay at home. The stamp is the record's time.
"""

import json
import os
import shutil
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from mobius_lib.errors import MobiusError
from mobius_lib.files import reason, write_json, write_whole
from mobius_lib.runs.about import OWN, RunError
from mobius_lib.runs.made_by import kept_name
from mobius_lib.runs.records import shortened
from mobius_lib.runs.schema import read_record
from mobius_lib.runs.summary import mean_and_spread

if TYPE_CHECKING:
    from mobius_lib.simplex import GeoFractalDavid

LICENSE = "apache-2.0"
"""Of the sources' weights, and of this library."""


def publish(
    record: Path, work: Path, into: Path, *, arms: Collection[str] = (), seed: int = 0, upload: str | None = None
) -> Path:
    """Puts the folder together, whole or not at all, and uploads it where that is asked for.

    Args:
        record: a result file.
        work: the folder of all runs, where the weights that it speaks of lie.
        into: the folder to make. One that was made so is replaced.
        arms: which; none: all that were trained.
        seed: of whose weights there are several.
        upload: "owner/name" on the hub; None uploads nothing.
    Returns:
        `into`.
    Raises:
        HubError: before anything is read, where name or token will not do; or where the upload fails: the folder stays.
        RunError: a record without weights, another arm or seed, or a folder that holds something else.
        CheckpointError: weights that cannot be read, or are of another model.
    """
    from mobius_lib.training.hub import Uploader, check_access

    if upload is not None:
        check_access(upload)
    _, content = read_record(record)
    if content["scale"] == OWN:
        raise RunError(f"{record} is of features of your own, whose weights lie beside it: upload that folder.")
    if into.exists() and any(into.iterdir()) and not (into / "record.json").is_file():
        raise RunError(f"{into} holds something else; give another --output.")
    part = into.with_name(f".{into.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        stamp = datetime.fromisoformat(content["created"]).strftime("%Y%m%d_%H%M%S")
        weights = {}
        for arm in arms or [name for name, rows in content["arms"].items() if rows[0].get("history")]:
            written = _copy(_kept(content, work, arm, seed), part, content, arm, seed, stamp)
            weights[arm] = written.relative_to(part).as_posix()
        if not weights:
            raise RunError(f"{record} is of no run that trains with a history; there are no weights to publish.")
        write_json(part / "record.json", content)
        write_whole(part / "README.md", card(content, weights, upload).encode())
        shutil.rmtree(into, ignore_errors=True)
        os.rename(part, into)
    except OSError as error:
        raise RunError(f"{into} cannot be written ({reason(error)}); make room or give another --output.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if upload is not None:
        Uploader(into, upload, "").send(f"{content['command']}, of {content['created']}")
    return into


def card(record: dict[str, Any], weights: dict[str, str], repo: str | None = None) -> str:
    """The card: what was trained on what, what came of it, how to load it.

    Args:
        record: of a run.
        weights: arm to the file of its best weights in the repository.
        repo: where it will be; None: not yet anywhere.
    """
    from huggingface_hub import EvalResult, ModelCardData

    from mobius_lib.runs import described

    about = described(record["run"])
    text = _of_language(record, next(iter(weights)))
    key, unit = ("bits_per_character", "bits per character") if text else ("final_accuracy", "top-1")
    name = repo.rpartition("/")[2] if repo else record["run"]
    # hf://datasets/OWNER/NAME@REVISION/FILE
    sets = sorted({"/".join(key.split("@")[0].split("/")[3:]) for key in record["data"] if key.startswith("hf://")})
    found = [
        EvalResult(
            task_type="text-generation" if text else "image-classification",
            dataset_type=sets[0] if sets else record["run"],
            dataset_name=about.summary,
            metric_type="bits_per_character" if text else "accuracy",
            metric_name=f"{unit}, {arm}, mean of {len(values)} seed(s)",
            metric_value=sum(values) / len(values),
        )
        for arm in weights
        for values in [[row[key] for row in record["arms"][arm]]]
    ]
    head = ModelCardData(
        license=LICENSE,
        library_name="mobius_lib",
        tags=["mobius", record["run"]],
        datasets=sets or None,
        model_name=name,
        eval_results=found,
    )
    table = [f"| arm | seeds | {unit} | parameters |", "|---|---|---|---|"]
    table += [
        f"| {arm} | {len(rows)} | {_spread([row[key] for row in rows], text)} | {rows[0]['parameters']:,} |"
        for arm, rows in record["arms"].items()
        if all(key in row and "parameters" in row for row in rows)
    ]
    arm, file = next(iter(weights.items()))
    where = f'hf_hub_download("{repo}", "{file}")' if repo else f'"{file}"'
    run, versions = record["run"], record["versions"]
    settings = record["configuration"]
    trained = (
        "" if text else f": {settings['epochs']} epochs of batches of {settings['batch_size']} at the learning rate "
        f"{settings['lr']:g}"
    )  # fmt: skip
    measured = "Bits per character of held-out text" if text else "Top-1 accuracy on the test rows"
    lines = [
        f"# {name}",
        f"{about.summary[:1].upper()}{about.summary[1:]}{trained}.",
        "\n".join(table),
        f"{measured} at the end of training, mean ± standard deviation over seeds. "
        f"`record.json` has every {'interval' if text else 'epoch'} of every seed.",
        "## Use",
        f'```sh\nmobius generate "{file}" "In the beginning"\n```'
        if text
        else "\n".join(
            [
                "```python",
                *(["from huggingface_hub import hf_hub_download"] if repo else []),
                "from safetensors.torch import load_file",
                "from mobius_lib.runs.registry import run_at",
                "",
                f'model = run_at("{run}", "{record["scale"]}").arms["{arm}"]()',
                f"model.load_state_dict(load_file({where}))",
                "model.eval()",
                "```",
            ]
        ),
        "## Made by",
        f"`{record['command']}`, commit {record['commit']}, {record['created']}, on {record['device']}; torch "
        f"{versions['torch']}, mobius_lib {versions['mobius_lib']}.",
        "## Data",
        "\n".join(f"- `{file}`, SHA-256 `{digest}`" for file, digest in record["data"].items()),
    ]
    return f"---\n{head.to_yaml()}\n---\n\n" + "\n\n".join(lines) + "\n"


def _kept(record: dict[str, Any], work: Path, arm: str, seed: int) -> Path:
    """The folder of the checkpoints that the record speaks of: of its data, with its best accuracy."""
    from mobius_lib.training import RunFolder

    row = next((row for row in record["arms"].get(arm, ()) if row["seed"] == seed), None)
    if row is None:
        raise RunError(
            f"The record has no arm {arm!r} with the seed {seed}; it has {', '.join(record['arms'])}, with the seeds 0 "
            f"to {record['configuration']['seeds'] - 1}."
        )
    wanted = (record["run"], record["scale"], arm, record["fingerprint"]["data"])
    if _of_language(record, arm) and (kept := _kept_language(wanted, row, work)):
        return kept
    for path in sorted(
        (work / record["run"]).glob(f"*/{_label(arm, seed)}.*/config.json"), key=os.path.getmtime, reverse=True
    ):
        try:
            about = json.loads(path.read_bytes())["config"]
            found = (*(about.get(key) for key in ("run", "scale", "arm")), about["made_by"]["data"])
            files = RunFolder(path.parent)
            # the records of this repository have fewer digits
            same = shortened(files.best()["accuracy"]) == shortened(row["best_accuracy"])
            if found == wanted and files.finished() and same:
                return path.parent
        except (OSError, ValueError, KeyError, TypeError, MobiusError):
            continue  # of another time, or damaged
    raise RunError(
        f"The weights of {arm} with the seed {seed}, of which the record speaks, are not below {work / record['run']}; "
        f"name their folder by --work, or make them with `{record['command']}`."
    )


def _of_language(record: dict[str, Any], arm: str) -> bool:
    return "bits_per_character" in record["arms"][arm][0]


def _kept_language(wanted: tuple[str, ...], row: dict[str, Any], work: Path) -> Path | None:
    """As `_kept`: the folder of weights that ended as the record says."""
    from mobius_lib.runs.twistor.text import ended
    from mobius_lib.runs.twistor.weights import FILE, made_by

    history = row["history"][-1] if isinstance(row["history"][-1], list) else row["history"]
    for path in sorted((work / wanted[0]).glob(f"*/*/{FILE}"), key=os.path.getmtime, reverse=True):
        try:
            made = made_by(path)
            found = (*(made.get(key) for key in ("run", "scale", "arm")), made["made_by"]["data"])
            ends = shortened({"seed": row["seed"]} | ended(history))
            if found == wanted and ends == shortened({name: made.get(name) for name in ends}):
                return path.parent
        except Exception:  # safetensors has errors of its own; whatever it is, it is not taken
            continue
    return None


def _spread(values: list[float], text: bool) -> str:
    return (
        mean_and_spread(values)
        if not text
        else f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
    )


def _label(arm: str, seed: int) -> str:
    return kept_name(f"{arm}-seed{seed}", {}).rpartition(".")[0]


def _copy(kept: Path, into: Path, record: dict[str, Any], arm: str, seed: int, stamp: str) -> Path:
    """What is kept of a training to where it belongs in the repository; returns the file of the best weights."""
    from safetensors.torch import save

    place = into / f"checkpoints/{record['run']}_{_label(arm, seed)}/{stamp}"
    if _of_language(record, arm):
        from mobius_lib.runs.twistor.weights import FILE, restore

        restore(kept)  # before anybody else tries to
        write_whole(place / FILE, (kept / FILE).read_bytes())
        _copy_events(kept, place / "tensorboard")
        return place / FILE
    from mobius_lib.runs.registry import run_at
    from mobius_lib.simplex import GeoFractalDavid
    from mobius_lib.training import RunFolder, load_model

    files = RunFolder(kept)
    weights = {"best_model": files.best_weights()}
    if (final := files.final()) is not None:
        weights["final_model"] = final["model"]
    made = run_at(record["run"], record["scale"]).arms[arm]
    model = made()
    for each in reversed(weights.values()):  # before anybody else tries to; the best are left in it
        load_model(model, each, kept)
    if isinstance(model, GeoFractalDavid):
        row = next(row for row in record["arms"][arm] if row["seed"] == seed)
        history = row["history"] if final is None else final["history"]
        return _copy_david(kept, into, f"{stamp}_{_label(arm, seed)}", model, made, history)
    for name, each in weights.items():
        write_whole(place / "checkpoints" / f"{name}.safetensors", save(each))
    for name in ("config.json", "best_accuracy.json", "final_accuracy.json"):
        write_whole(place / name, (kept / name).read_bytes())
    _copy_events(kept, place / "tensorboard")
    return place / "checkpoints" / "best_model.safetensors"


def _copy_david(
    kept: Path, into: Path, run_id: str, model: "GeoFractalDavid", made: Any, history: list[dict[str, Any]]
) -> Path:
    """As `_copy`, in the layout of GeoFractalDavid's card."""
    from mobius_lib.runs.simplex.trainer import Place, name_of, plot_prototypes
    from mobius_lib.training.processes import Processes

    place = Place(into, name_of(model.config), run_id, Processes())
    place.checkpoints = kept
    recipe = json.loads((kept / "config.json").read_bytes())["recipe"]
    place.prepare(place.about(model.config, getattr(getattr(made, "objective", None), "loss", None), recipe))
    place.finish(model.config, history, {})
    plot_prototypes(model, place.weights)
    _copy_events(kept, place.events)
    (best,) = place.weights.glob("*.safetensors")
    return best


def _copy_events(kept: Path, into: Path) -> None:
    if (kept / "tensorboard").is_dir():
        shutil.copytree(kept / "tensorboard", into)
