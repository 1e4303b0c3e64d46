"""A full disk, as every library that writes for us tells it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from luodi.core.disk import full, is_full, reserve, tell_size, told_when_full
from luodi.errors import DataError, ResourceError

# Each writer meets the limit of its process for real: what it then raises is what has to be known.
WRITERS = {
    "python": "open(path, 'wb').write(bytes(9000))",
    "numpy": "import numpy; numpy.memmap(path, 'int8', 'w+', shape=(9000,))",
    "reserve": "from luodi.core.disk import reserve; reserve(path, 9000)",
    "copytree": "import shutil; shutil.copytree(folder / 'large', path)",
    "safetensors": "import numpy, safetensors.numpy as s; s.save_file({'a': numpy.zeros(9000)}, path)",
    "tokenizers": "import tokenizers as t; t.Tokenizer(t.models.WordLevel({f'{i}': i for i in range(9000)}, '0'))"
    ".save(str(path))",
    "onnx": "import onnx; onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], 'x' * 9000, [], [])), path)",
    "openvino": "from luodi.backends import openvino as b; v = b.load(); import numpy, openvino.opset13 as o; "
    "p = o.parameter([90], numpy.float32); b.save(v.Model([o.add(p, o.constant(numpy.ones((90, 90), numpy.float32)))], "
    "[p], 'm'), path)",
    "pyarrow": "import pyarrow, pyarrow.parquet as q; q.write_table(pyarrow.table({'a': list(range(9000))}), path)",
}
PROGRAM = """
import resource, signal, sys
from pathlib import Path
from luodi.core.disk import is_full
folder = Path(sys.argv[1])
path = folder / "written"
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    exec(sys.argv[2])
except Exception as error:
    print(is_full(error), repr(error))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on files to be set")
@pytest.mark.parametrize("writer", WRITERS)
def test_it_is_known_whoever_says_so(writer: str, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "file").write_bytes(bytes(9000))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), WRITERS[writer]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("True "), done.stdout + done.stderr


def test_what_is_reserved_is_there(tmp_path: Path) -> None:
    for count in (0, 1, 123_457):
        reserve(tmp_path / "file", count)
        assert (tmp_path / "file").read_bytes() == bytes(count)
    if hasattr(os, "posix_fallocate"):
        assert (tmp_path / "file").stat().st_blocks * 512 >= 123_457


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    for error in (OSError(errno.ENOENT, "No such file"), ValueError("28"), RuntimeError("(os error 2)")):
        assert not is_full(error)
        with pytest.raises(type(error)), told_when_full(tmp_path):
            raise error
    refused = DataError("x", code="data.x")
    refused.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert not is_full(refused), "what was told in words is not told in others"


def test_it_is_told_in_words(tmp_path: Path, both_languages: str) -> None:
    words = {"en": ("the disk is full", "quota"), "zh": ("磁盘已满", "配额")}[both_languages]
    failed = RuntimeError("could not save")
    failed.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ResourceError) as caught, told_when_full(tmp_path):
        raise failed
    assert caught.value.code == "disk.full"
    assert words[0] in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert tell_size(shutil.disk_usage(tmp_path).free)[-2:] in caught.value.message
    assert is_full(caught.value)
    missing = tmp_path / "not" / "there"
    assert words[1] in full(missing, OSError(errno.EDQUOT, "Quota")).message


def test_sizes_are_told_shortly() -> None:
    told = [tell_size(n) for n in (0, 999, 1_000, 12_345, 1_234_567, 123_456_789, 5_000_000_000, 7e12)]
    assert told == ["0 B", "999 B", "1.0 kB", "12.3 kB", "1.2 MB", "123 MB", "5.0 GB", "7000.0 GB"]
