"""A process that runs the command on request and may be killed. Started by test_cli.py; imports are paid once.

Each line on stdin is JSON: {"argv": [...], "folder": ..., "environment": {...}, "signal": n or null, "at": k}. A child
is forked for it, in that folder, with its output in stdout.txt and stderr.txt there, and its exit status (negative: the
signal) is printed.
With a signal the child sends it to itself just before its k-th call of os.replace in its folder: every file that a run
writes is put in place by one, so these are the moments at which files are in two minds. calls.txt holds how many there
were.
"""

import importlib.util
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import torch
import torch._dynamo  # the optimiser imports it at its first step, which takes seconds: paid here, once
import torch.utils.tensorboard

import mobius_lib.training
from mobius_lib import cli
from mobius_lib.runs import ABOUT, RUNS


def tiny_run() -> object:
    spec = importlib.util.spec_from_file_location("tiny_run", Path(__file__).with_name("tiny_run.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RUN


def count_replaces(number: int | None, at: int) -> None:
    """Keeps the count in calls.txt, and sends itself the signal before the `at`-th call, from 1."""
    calls, replace, here = [0], os.replace, Path.cwd()

    def counted(source: os.PathLike, target: os.PathLike) -> None:
        if not Path(target).absolute().is_relative_to(here):  # a kernel, which is built once on a machine
            return replace(source, target)
        calls[0] += 1
        Path("calls.txt").write_text(str(calls[0]))
        if number is not None and calls[0] == at:
            os.kill(os.getpid(), number)
        return replace(source, target)

    os.replace = counted


def child(request: dict) -> int:
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    for stream, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
    count_replaces(request.get("signal"), request.get("at", 0))
    sys.argv = ["mobius", *request["argv"]]
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert mobius_lib.training and torch.utils.tensorboard and torch._dynamo
    ABOUT["tiny"] = RUNS["tiny"] = tiny_run()
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = child(json.loads(line))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
