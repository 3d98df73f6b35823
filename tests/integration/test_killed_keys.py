"""Keys that are made and rotated by a process that is killed, or whose disk fails, at any step."""

import errno
import os
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest
from killed_keys import STEPS

from eventvm.errors import BadInput
from eventvm.signing.keys import generate, load, public_file, rotate, trusted

PROGRAM = Path(__file__).with_name("killed_keys.py")
WHOLE = ["ops.key", "ops.key.pub"]


def left(verb, place):
    """Have the program killed at every step, and give the keys that it left, as far as they had come."""
    place.mkdir()
    subprocess.run([sys.executable, PROGRAM, verb, place], check=True, timeout=60)
    keys = [one / "ops.key" for one in sorted(place.iterdir())]
    assert len(keys) > 10
    return keys


def names(path):
    return sorted(one.name for one in path.parent.iterdir())


def test_a_key_whose_making_was_killed_is_whole_or_was_never_made(tmp_path):
    """Wherever that was; the next one to make it is refused, or finds nothing in the way."""
    made = 0
    for path in left("generate", tmp_path / "killed"):
        if path.exists():
            made += 1
            assert names(path) == WHOLE
            whole = path.read_text()
            with pytest.raises(BadInput, match="never overwritten"):
                generate(path, "ops")
            assert path.read_text() == whole
        else:
            generate(path, "again")
        assert names(path) == WHOLE
        assert (load(path).key.public,) == trusted(public_file(path))
    assert made > 1, "some were killed after it was there"


def test_a_rotation_that_was_killed_leaves_a_key_that_signs(tmp_path):
    """And the next one ends what was begun."""
    for path in left("rotate", tmp_path / "killed"):
        first, *_ = trusted(public_file(path))
        assert load(path).key.public in trusted(public_file(path))
        followed = rotate(path)
        assert followed[0] == first
        assert load(path).key.public == followed[-1]
        assert len(followed) in {2, 3}
        assert names(path) == WHOLE


def failing_at(monkeypatch, step):
    """Have the file system fail once, at the step of this number."""
    numbers = count(1)

    def counted(asked):
        def ask(*arguments, **options):
            if next(numbers) == step:
                raise OSError(errno.ENOSPC, "No space left on device")
            return asked(*arguments, **options)

        return ask

    for name in STEPS[:-1]:  # what is not closed would only be closed later
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


def test_a_disk_that_fails_leaves_nothing_or_all(tmp_path, monkeypatch):
    """It is said in a sentence, and the next one to make the key finds nothing in the way."""
    for step in range(1, 16):
        path = tmp_path / str(step) / "ops.key"
        path.parent.mkdir()
        with monkeypatch.context() as disk:
            failing_at(disk, step)
            with pytest.raises(BadInput, match="No space left"):
                generate(path, "ops")
        if names(path):
            assert names(path) == WHOLE
            assert load(path)
        else:
            generate(path, "again")


def test_of_many_who_make_one_key_one_does(tmp_path):
    """And what they all find is that one's."""
    path, made, start = tmp_path / "ops.key", [], threading.Barrier(8)

    def make():
        start.wait()
        try:
            made.append(generate(path, "ops"))
        except BadInput:
            made.append(())

    makers = [threading.Thread(target=make) for _ in range(8)]
    for one in makers:
        one.start()
    for one in makers:
        one.join()
    assert sorted(map(len, made)) == [0] * 7 + [1]
    assert max(made, key=len) == (load(path).key.public,)
    assert names(path) == WHOLE
