"""Runs that are stopped or killed and go on, and what must be the same as in a run that nobody interrupted."""

import json
import os
import signal
import subprocess
import sys
import time

from tutelage.cli import main

COMMAND = [sys.executable, "-m", "tutelage"]
TIMES = ("seconds", "wall_seconds", "checkpoint_seconds")


class Stops:
    """Stops a run when what has this name took so many steps; without a name it only notes what was started."""

    def __init__(self, name="", steps=0):
        self.name, self.left, self.current, self.names = name, steps, "", []

    def start(self, name, steps, done):
        self.current = name
        self.names.append(name)

    def advance(self, accuracy):
        if self.current == self.name:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


def read(folder, name="result.json"):
    return json.loads((folder / name).read_text())


def without_times(result):
    """What a result holds, as text, wherever it took however long."""

    def cleaned(value):
        if isinstance(value, dict):
            return {k: cleaned(v) for k, v in value.items() if k not in TIMES}
        return [cleaned(v) for v in value] if isinstance(value, list | tuple) else value

    return json.dumps(cleaned(result), sort_keys=True)


def assert_same(folder, whole):
    """Results, times apart, and all metric lines are the same."""
    assert without_times(read(folder)) == without_times(read(whole))
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def lines(folder):
    """How many metric lines a run has written, those of its levels included."""
    files = [folder / "metrics.jsonl", *folder.glob("noise-*/metrics.jsonl")]
    return sum(file.read_bytes().count(b"\n") for file in files if file.is_file())


def finish(*arguments):
    """Run the command to its end, in this process: a new one takes longer to import than to run."""
    assert main([*map(str, arguments)]) == 0


def kill_at(moment, *arguments):
    """Start the command and kill it hard when the moment has come; return whether it was still running."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], **silent)
    while not moment() and process.poll() is None:
        time.sleep(0.005)
    killed = process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return killed


def kill_after(count, out, *arguments):
    """Kill a run that writes into a folder after so many metric lines."""
    killed = kill_at(lambda: lines(out) >= count, *arguments, "--out", out)
    assert killed, "it ended before it could be killed"
