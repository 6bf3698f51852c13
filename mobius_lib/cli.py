"""The command `mobius`: run a reproduction, print the ledger, measure the speed, check the data."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mobius_lib.errors import MobiusError

if TYPE_CHECKING:
    from mobius_lib.runs import About

# What needs torch is imported where it is used: help, lists and a shell's completion do not wait for it.
app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()
complaints = Console(stderr=True)


def main() -> None:
    """The entry point: an error that a user can cause is one sentence and exit status 2."""
    try:
        app()
    except MobiusError as error:
        complaints.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


def _run_names(incomplete: str) -> list[tuple[str, str]]:
    """For the shell: the runs that begin so, and what they do."""
    from mobius_lib.runs import ABOUT

    return [(name, about.summary) for name, about in ABOUT.items() if name.startswith(incomplete)]


def _scale_names(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """For the shell: the scales of the run that stands in the line already, and what they take."""
    from mobius_lib.runs import ABOUT

    # an option that still lacks its value ends the parsing, and then the run's name is among what is left
    scales = next((ABOUT[word].scales for word in (context.params["name"], *context.args) if word in ABOUT), {})
    return [(name, scale.note) for name, scale in scales.items() if name.startswith(incomplete)]


@app.command()
def run(
    name: Annotated[str | None, typer.Argument(help="which run; --list shows them", autocompletion=_run_names)] = None,
    scale: Annotated[str, typer.Option(help="quick (minutes on a CPU) or full", autocompletion=_scale_names)] = "quick",
    seeds: Annotated[int, typer.Option(min=1, help="how many seeds: 0, 1, …")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    epochs: Annotated[int | None, typer.Option(min=1, help="instead of the scale's")] = None,
    train_samples: Annotated[int | None, typer.Option(min=1, help="instead of the scale's")] = None,
    test_samples: Annotated[int | None, typer.Option(min=1, help="instead of the scale's")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="instead of the scale's")] = None,
    lr: Annotated[float | None, typer.Option(help="learning rate instead of the scale's")] = None,
    precision: Annotated[str | None, typer.Option(help="mixed: bf16, fp16 on a GPU [default: no, float32]")] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, help="batches to a step [default: 1]")] = None,
    backend: Annotated[
        str, typer.Option(help="of lenses: printed, eager, compiled, native, triton; auto is the fastest")
    ] = "auto",
    compiled: Annotated[bool, typer.Option("--compiled", help="whole models under torch.compile")] = False,
    arm: Annotated[
        list[str] | None,
        typer.Option(help="train this arm alone, for the whole run to take up, and write no record; may be repeated"),
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="keep the seeds that the result file has, and add the others to it")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="result file [default: NAME.SCALE.json where `mobius ledger` reads]")
    ] = None,
    work: Annotated[Path, typer.Option(help="folder of checkpoints; a run that was stopped goes on there")] = Path(
        "outputs"
    ),
    data: Annotated[
        Path | None,
        typer.Option(help="features of your own: .safetensors, .npy, Parquet, or a folder of pictures"),
    ] = None,
    classes: Annotated[str | None, typer.Option(help="of --data: how many, or a file with a name a line")] = None,
    feature_column: Annotated[str | None, typer.Option(help="of --data or the hub's, where types do not tell")] = None,
    label_column: Annotated[str | None, typer.Option(help="of --data or the hub's, where types do not tell")] = None,
    encoder: Annotated[str | None, typer.Option(help="of a folder of pictures [default: efficientnet-lite0]")] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="show the runs and leave")] = False,
) -> None:
    """Train a reproduction and write its result file. Stopped and started again, it goes on where it was."""
    try:
        from mobius_lib.runs import ABOUT, described

        asked = [described(name)] if name else list(ABOUT.values())
        if list_runs or name is None:
            _print_runs(asked)
            return
        from mobius_lib.runs import RunError, execute, get_run, pick_device
        from mobius_lib.runs.base import with_columns
        from mobius_lib.runs.records import file_name
        from mobius_lib.training.processes import apart

        chosen = get_run(name)
        own: dict[str, Any] = {"classes": classes, "feature_column": feature_column, "label_column": label_column}
        own = {key: value for key, value in (own | {"encoder": encoder}).items() if value is not None}
        if own and data is None:
            chosen = with_columns(chosen, own)
        if data is not None and (scale != "quick" or arm or extend):
            raise RunError("With --data a run trains all arms on all rows; leave --scale, --arm and --extend out.")
        changes: dict[str, Any] = {
            "epochs": epochs,
            "train_samples": train_samples,
            "test_samples": test_samples,
            "batch_size": batch_size,
            "lr": lr,
            "precision": precision,
            "accumulate": accumulate,
        }
        if data is not None:
            from mobius_lib.runs.own import train_on

            own |= {"device": device, "backend": backend, "compiled": compiled, "seeds": seeds, **changes}
            result = train_on(name, data, work=work, output=output, **own)
            if apart():
                _print_result(result)
                _print_own(result, data)
            return
        # what changes the numbers has a folder of its own, so that no result is put together from two kinds of run
        kind = [scale, *(f"{key}{value}" for key, value in changes.items() if value is not None)]
        kind += [word for word in (backend, pick_device(device).type) if word not in ("auto", "cpu")]
        kind += ["compiled"] if compiled else []
        target = output or _results_dir() / file_name(name, scale, changes)
        result = execute(
            chosen,
            scale,
            seeds=seeds,
            device=device,
            output=target,
            work=work / name / "-".join(kind),
            backend=backend,
            compiled=compiled,
            replayed=True,
            only=arm or (),
            extend=extend,
            **changes,
        )
    except KeyboardInterrupt:
        complaints.print("Stopped; the same command continues.")
        raise typer.Exit(130) from None
    if not apart():
        return
    _print_result(result)
    if arm:
        console.print("No record: the same command without --arm takes this up, and writes one.", highlight=False)
        return
    if output is None:
        from mobius_lib.runs.evidence import enter_made

        enter_made(target)
    console.print(f"Result written to {escape(str(target))}", highlight=False, soft_wrap=True)
    if output is None and target.parent == Path("results"):
        console.print("See what it changes with: mobius ledger --results results", highlight=False)


@app.command()
def publish(
    name: Annotated[str, typer.Argument(help="which run, or its result file", autocompletion=_run_names)],
    scale: Annotated[str, typer.Option(help="of the run", autocompletion=_scale_names)] = "full",
    arm: Annotated[list[str] | None, typer.Option(help="only this one; may be repeated")] = None,
    seed: Annotated[int, typer.Option(min=0, help="whose weights")] = 0,
    work: Annotated[Path, typer.Option(help="folder of checkpoints, as of `mobius run`")] = Path("outputs"),
    output: Annotated[Path | None, typer.Option(help="folder to make [default: in that of checkpoints]")] = None,
    upload: Annotated[str | None, typer.Option(help="OWNER/NAME on the hub; without it nothing is uploaded")] = None,
) -> None:
    """Put the weights of a finished run and a model card into a folder, as the hub holds them; upload it if asked."""
    from mobius_lib.runs import described
    from mobius_lib.runs.publish import publish as published
    from mobius_lib.runs.records import file_name

    record = Path(name) if name.endswith(".json") else _results_dir() / file_name(described(name).name, scale, {})
    into = output or work / "publish" / record.stem
    folder = published(record, work, into, arms=arm or (), seed=seed, upload=upload)
    console.print(f"Written to {escape(str(folder))}", highlight=False, soft_wrap=True)
    if upload is not None:
        console.print(f"Uploaded to https://huggingface.co/{upload}", highlight=False, soft_wrap=True)


@app.command()
def features(
    folder: Annotated[Path, typer.Argument(help="of pictures: a folder for each class, or train/ and val/ of such")],
    output: Annotated[Path, typer.Option(help="the feature file, .safetensors")],
    encoder: Annotated[str, typer.Option(help="efficientnet-lite0, clip, or clip:MODEL")] = "efficientnet-lite0",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    skip: Annotated[bool, typer.Option("--skip", help="leave out pictures that cannot be read")] = False,
) -> None:
    """Turn a folder of pictures into features, for `mobius run waves-features --data` and simplex-features."""
    from mobius_lib.datasets.own import write_features
    from mobius_lib.runs import pick_device

    try:
        written = write_features(folder, output, encoder, device=pick_device(device), skip=skip)
    except KeyboardInterrupt:
        complaints.print("Stopped; nothing was written.")
        raise typer.Exit(130) from None
    for reason in written.left_out:
        complaints.print(Text(f"Left out: {reason}"), soft_wrap=True)
    of = f" of {len(written.classes)} classes" if written.classes else ", without labels"
    console.print(
        f"{written.rows:,} rows of {written.dim:,}{of} in {escape(str(output))}", highlight=False, soft_wrap=True
    )


@app.command()
def predict(
    weights: Annotated[Path, typer.Argument(help="a file that `mobius run NAME --data` has left")],
    images: Annotated[list[Path], typer.Argument(help="pictures")],
    top: Annotated[int, typer.Option(min=1, help="classes to name for each")] = 3,
    encoder: Annotated[str | None, typer.Option(help="of the pictures [default: the one of the features]")] = None,
    device: Annotated[str, typer.Option(help="where the encoder computes: auto, cpu or cuda")] = "auto",
) -> None:
    """Say what pictures show, by weights that were trained on features of such."""
    from mobius_lib.runs import pick_device
    from mobius_lib.runs.predict import predict as predicted

    table = Table("picture", "class", "probability")
    for image, found in zip(
        images, predicted(weights, images, top=top, encoder=encoder, device=pick_device(device)), strict=True
    ):
        for place, (name, probability) in enumerate(found):
            table.add_row("" if place else Text(str(image)), Text(name), f"{probability:.1%}")
    console.print(table)


@app.command()
def probe(
    weights: Annotated[Path, typer.Argument(help="of a GeoFractalDavid: .safetensors, .pt, or the folder of a run")],
    output: Annotated[Path | None, typer.Option(help="folder of the pictures [default: that of the weights]")] = None,
    form: Annotated[str, typer.Option("--format", help="png or svg")] = "png",
    data: Annotated[Path | None, typer.Option(help="features, on whose held-out rows each scale is judged")] = None,
    position: Annotated[str | None, typer.Option(help="of the staircase; batch for published weights")] = None,
) -> None:
    """Show what a saved David has learned: a table of its scales, and three pictures of its Cantor prototypes."""
    from mobius_lib.datasets.own import own_features
    from mobius_lib.runs.simplex.probe import probe as probed

    rows = None if data is None else own_features(data)
    found = probed(weights, output, form=form, data=rows, position=position)
    names = list(next(iter(found.scales.values())))
    table = Table("scale", *names, title=f"alpha {found.alpha:.4f}")
    for scale, values in found.scales.items():
        table.add_row(
            str(scale), *(f"{values[name]:.1%}" if name == "accuracy" else f"{values[name]:.4f}" for name in names)
        )
    console.print(table)
    if rows is not None:
        console.print(f"All scales together: {found.accuracy:.1%} of {len(rows.test[1]):,} held-out rows.")
    for path in found.pictures:
        console.print(Text(str(path)), soft_wrap=True)


@app.command()
def ledger(
    names: Annotated[list[str] | None, typer.Argument(help="claims to show in full; * and ? are wildcards")] = None,
    chapter: Annotated[int | None, typer.Option(help="only this chapter")] = None,
    results: Annotated[Path | None, typer.Option(help="folder of result files [default: the book's own]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable, with all numbers")] = False,
    check: Annotated[bool, typer.Option("--check", help="status 1 when evidence is stale or inconsistent")] = False,
) -> None:
    """Compute and print the verdict on every claim, or all that is known of some."""
    from mobius_lib.ledger import LedgerError, judge, load_claims
    from mobius_lib.ledger.terminal import print_facts, print_verdicts
    from mobius_lib.ledger.verdicts import select

    if results is not None and not results.is_dir():
        raise LedgerError(f"There is no folder {results}; --results names one that holds the files of `mobius run`.")
    select(load_claims(), names or None, chapter)  # a name that is wrong is no fault of the evidence
    try:
        verdicts = judge(results_dir=results, only=names or None, chapter=chapter)
    except MobiusError as error:
        if not check:
            raise
        complaints.print(escape(str(error)), highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps([verdict.model_dump(mode="json") for verdict in verdicts], indent=1))
    else:
        (print_facts if names else print_verdicts)(console, verdicts)
    reasons = dict.fromkeys(record["stale"] for v in verdicts for record in v.evidence if record["stale"])
    for reason in reasons if check else ():
        on_it = [v.claim.id for v in verdicts if any(record["stale"] == reason for record in v.evidence)]
        complaints.print(Text(f"{reason} On it rest {', '.join(on_it)}."), soft_wrap=True)
    if check and reasons:
        raise typer.Exit(1)


@app.command()
def verify(
    runs: Annotated[
        list[str] | None, typer.Argument(help="whose records are replayed", autocompletion=_run_names)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="replay every record")] = False,
    results: Annotated[Path | None, typer.Option(help="folder of result files [default: the book's own]")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="note what agrees, and what does not, in the folder's verified.json")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="records replayed at a time, each by a process")] = 1,
) -> None:
    """Check the records of runs: their consistency, digests and code; and replay the first steps of those named."""
    import time

    from mobius_lib.runs import RunError, evidence

    folder = results or _results_dir()
    if not folder.is_dir():
        raise RunError(f"There is no folder {folder}; --results names one that holds the files of `mobius run`.")
    replayed, started = every or bool(runs), time.perf_counter()
    faults, entries = [], {}
    for found in evidence.verify_each(evidence.chosen(folder, runs or []), replayed=replayed, workers=workers):
        path = found.path
        if found.entry is not None:
            entries[path.name] = found.entry
        if found.fault is not None:
            faults.append(found.fault)
        off = "" if found.off is None else f", off by {found.off:.1g} at most"
        word = "[red]not verified[/]" if found.fault else "[green]replayed[/]" if found.seconds else "[green]current[/]"
        if found.note.startswith("stale"):
            word = "[yellow]known[/]"
        told = f"{off} in {found.seconds:.0f} s" if found.seconds else f", {found.note}" if found.note else ""
        console.print(f"{word} {escape(path.name)}{told}", highlight=False, soft_wrap=True)
        if write and replayed and path.name in entries:
            evidence.enter(folder, entries)  # now: a replay of them all takes minutes
    for fault in faults:
        complaints.print(f"[bold red]{escape(fault)}[/]", highlight=False, soft_wrap=True)
    if replayed:
        console.print(f"{time.perf_counter() - started:.0f} s in all", highlight=False)
    if faults:
        raise typer.Exit(1)


@app.command()
def bench(
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    batch: Annotated[int | None, typer.Option(min=1, help="samples in a batch [default: 32]")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="of a CPU [default: torch's own]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="tiny sizes: does it run? Its figures say nothing")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="gate, lens, block, net, step or inference; may be repeated")
    ] = None,
    form: Annotated[list[str] | None, typer.Option(help="for instance printed or folded; may be repeated")] = None,
    backend: Annotated[str | None, typer.Option(help="of ours [default: the fastest of all]")] = None,
    precision: Annotated[str, typer.Option(help="no (float32) or bf16")] = "no",
    rounds: Annotated[int | None, typer.Option(min=1, help="how often each form is timed [default: 15]")] = None,
    rows: Annotated[
        int | None, typer.Option(min=0, help="of made features to train on [default: ImageNet's on cuda, else 0]")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the record into this file")] = None,
    what: Annotated[str, typer.Option(help="lens, simplex (chapter 3), gauge (4) or twistor (5)")] = "lens",
) -> None:
    """Time the lens, its block and its network in every form, beside the same with a GELU; or another chapter's."""
    from mobius_lib.bench.base import BenchError
    from mobius_lib.bench.waves import bench as measure
    from mobius_lib.bench.waves import print_bench

    if what not in ("lens", "simplex", "gauge", "twistor"):
        raise BenchError(f"There is no benchmark {what!r}; --what is lens, simplex, gauge or twistor.")
    if what != "lens":
        if only or form or backend or precision != "no" or rows is not None:
            raise BenchError("--only, --form, --backend, --precision and --rows are the lens's; leave them out.")
        from mobius_lib.bench.gauge.rungs import bench_gauge, print_gauge
        from mobius_lib.bench.simplex import bench_simplex, print_simplex
        from mobius_lib.bench.twistor import bench_twistor, print_twistor

        others: dict[str, Any] = {
            "simplex": (bench_simplex, print_simplex),
            "gauge": (bench_gauge, print_gauge),
            "twistor": (bench_twistor, print_twistor),
        }
        measure, print_bench = others[what]
    # what only the lens has
    choices: dict[str, Any] = {}
    if what == "lens":
        choices = {"subjects": tuple(only or ()), "forms": tuple(form or ()), "backend": backend,
                   "precision": precision, "rows": rows}  # fmt: skip
    try:
        record = measure(
            device,
            batch=batch,
            threads=threads,
            quick=quick,
            rounds=rounds,
            output=json_file,
            **choices,
            say=lambda text: complaints.print(f"measuring {text}", highlight=False, style="dim"),
        )
    except KeyboardInterrupt:
        complaints.print("Stopped; nothing was written.")
        raise typer.Exit(130) from None
    print_bench(console, record)
    if json_file is not None:
        console.print(f"Written to {escape(str(json_file))}", highlight=False, soft_wrap=True)


@app.command()
def generate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WEIGHTS] [PROMPT]",
            help="a model.safetensors that `mobius run twistor-text` or this has kept, or its folder [default: train "
            'one, and keep it]; and what the text begins with [default: "In the beginning"]',
        ),
    ] = None,
    length: Annotated[int, typer.Option(min=0, help="characters at most")] = 200,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest character")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="draw among so many of the likeliest")] = None,
    stop: Annotated[str, typer.Option(help="characters of which each ends the text")] = "",
    seed: Annotated[int, typer.Option(min=0, help="random seed of what is drawn")] = 0,
    scale: Annotated[str, typer.Option(help="of that training: quick (seconds, gibberish), short or full")] = "quick",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    work: Annotated[Path, typer.Option(help="folder in which what is trained is kept")] = Path("outputs"),
) -> None:
    """Let a language model write on, character by character."""
    from mobius_lib.runs.twistor.generate import asked, trained, written

    weights, prompt = asked(words or ())
    path = weights or work / "generate" / f"twistor.{scale}.safetensors"
    if weights is None:
        trained(scale, device, path, lambda text: complaints.print(text, highlight=False, style="dim", soft_wrap=True))
    options = {"temperature": temperature, "top_k": top_k, "seed": seed}
    made = written(path, prompt, length, stop=stop, device=device, **options)
    print(prompt, end="", flush=True)
    for letter in made:
        print(letter, end="", flush=True)
    print()


@app.command()
def data(
    source: Annotated[
        str | None,
        typer.Argument(
            help="a run, whose data are got ready; or features of your own [default: what is embedded]",
            autocompletion=_run_names,
        ),
    ] = None,
    scale: Annotated[str, typer.Option(help="of the run")] = "full",
    feature_column: Annotated[str | None, typer.Option(help="where types do not tell")] = None,
    label_column: Annotated[str | None, typer.Option(help="where types do not tell")] = None,
) -> None:
    """Fetch what is missing, check every hash and every row, and convert what is large: a run then begins at once."""
    named = {"feature_column": feature_column, "label_column": label_column}
    own = {key: value for key, value in named.items() if value is not None}
    if source is None:
        from mobius_lib.datasets import fetch, registry
        from mobius_lib.runs import RunError

        if own:
            raise RunError("The embedded data have no columns to name; give a run, or a file of features.")
        for name in registry():
            console.print(f"[green]ok[/] {escape(str(fetch(name)))}", highlight=False, soft_wrap=True)
        return
    try:
        parts = _parts_of(source, scale, own)
    except KeyboardInterrupt:
        complaints.print("Stopped; the same command continues.")
        raise typer.Exit(130) from None
    for name, (x, y) in parts.items():
        kind = f"{'x'.join(map(str, x.shape[1:]))} {str(x.dtype).removeprefix('torch.')}"
        classes = f", labels {int(y.min())} to {int(y.max())}" if len(y) else ""
        told = f"[green]ok[/] {escape(name)}: {len(x):,} rows of {kind}{classes}"
        console.print(told, highlight=False, soft_wrap=True)


def _parts_of(source: str, scale: str, columns: dict[str, str]) -> dict[str, Any]:
    """Rows and labels by name."""
    from mobius_lib.datasets.feature_files import load_features
    from mobius_lib.runs import ABOUT
    from mobius_lib.runs.base import with_columns
    from mobius_lib.runs.registry import run_at

    if source not in ABOUT:
        return {source: load_features(source, **columns)}  # type: ignore[arg-type]  # columns alone
    found = with_columns(run_at(source, scale), columns).data()
    return {"to train on": found.train, "to test on": found.test}


def _results_dir() -> Path:
    """Where `mobius ledger` reads by default; an installed copy is not written into."""
    from mobius_lib.datasets.paths import PACKAGE, data_dir

    folder = data_dir()
    return Path("results") if folder.is_relative_to(PACKAGE) else folder / "results"


def _print_runs(runs: list["About"]) -> None:
    table = Table(title="Runs: mobius run NAME --scale SCALE --seeds N")
    for heading in ("run", "chapter", "what it does", "scales"):
        # a word longer than its column, such as the name of an environment variable, is folded and not cut off
        table.add_column(heading, no_wrap=heading == "run", overflow="fold")
    for each in runs:
        scales = []
        for name, scale in each.scales.items():
            amount = f"{scale.epochs} epochs, batch {scale.batch_size}" if scale.epochs else "no training"
            scales.append(f"{name}: {amount}" + (f"; {scale.note}" if scale.note else ""))
        table.add_row(each.name, str(each.chapter), each.summary, "\n".join(scales))
    console.print(table)


def _print_result(result: dict) -> None:
    import statistics

    from mobius_lib.runs.summary import step_ratio

    if not all("best_accuracy" in row for rows in result["arms"].values() for row in rows):
        _print_measures(result)
        return
    table = Table("arm", "seeds", "final accuracy", "best", "parameters", "seconds", title=result["command"])
    for name, rows in result["arms"].items():
        final = [row["final_accuracy"] for row in rows]
        spread = f" ± {statistics.stdev(final):.4f}" if len(final) > 1 else ""
        table.add_row(
            name,
            str(len(rows)),
            f"{statistics.mean(final):.4f}{spread}",
            f"{max(row['best_accuracy'] for row in rows):.4f}",
            f"{rows[0]['parameters']:,}",
            f"{statistics.mean(row['seconds'] for row in rows):.1f}",
        )
    for name, row in result.get("extra", {}).items():
        table.add_row(name, "", f"{row['accuracy']:.4f}", "", f"{row['parameters']:,}", "")
    console.print(table)
    for name, row in result["cost"].items():
        found = step_ratio(row)
        ratio = f", {found[1]:.2f} x {found[0]}" if found else ""
        console.print(f"a training step of {row['batch_size']}: {name} {row['seconds'] * 1e3:.0f} ms{ratio}")


def _print_own(result: dict, source: Path) -> None:
    """What was held out, and what to do with the weights."""
    own = result["own"]
    rows = own["rows"]
    told = [f"{source}: {rows['train']:,} rows to train on, {rows['test']:,} to test on ({own['split']})."]
    told += [f"Weights of {arm}: {path}" for arm, path in own["weights"].items()]
    if own["encoder"] is not None:
        told.append(f"Name the classes of pictures: mobius predict {next(iter(own['weights'].values()))} IMAGE")
    console.print(Text("\n".join(told)), soft_wrap=True)


def _print_measures(result: dict) -> None:
    """Of a run that computes its records: every number that is not a list or a table, means over seeds."""
    import statistics

    numbers = {
        name: {key: [row[key] for row in rows] for key in rows[0] if key != "seed" and _all_numbers(rows, key)}
        for name, rows in result["arms"].items()
    }
    keys = list(dict.fromkeys(key for row in numbers.values() for key in row))
    table = Table("arm", "seeds", *(key.replace("_", " ") for key in keys), title=result["command"])
    for name, row in numbers.items():
        cells = [f"{statistics.mean(row[key]):,.5g}" if key in row else "" for key in keys]
        table.add_row(name, str(len(result["arms"][name])), *cells)
    console.print(table)


def _all_numbers(rows: list[dict], key: str) -> bool:
    return all(isinstance(row.get(key), int | float) and not isinstance(row[key], bool) for row in rows)
