"""README's animated picture: small enough, and of the answers that the page shows today."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.benchmarks import make_motion


def test_a_picture_holds_what_it_was_made_of(tmp_path):
    frames = [(Image.new("RGB", (84, 58), color), 500) for color in ("white", "black", "red")]
    path = tmp_path / "x.gif"
    assert make_motion.write(frames, path, make_motion.digest()) < make_motion.MOST
    with Image.open(path) as image:
        assert image.n_frames == 3 and image.size == (84, 58)
    assert make_motion.made_of(path) == make_motion.digest()
    assert make_motion.main(["--check", "--to", str(path)]) == 0
    make_motion.write(frames, path, "0" * 16)
    assert make_motion.main(["--check", "--to", str(path)]) == 1, "of other answers"
    assert make_motion.main(["--check", "--to", str(tmp_path / "none.gif")]) == 1


def test_the_picture_of_the_page_is_current():
    if not make_motion.MOTION.is_file():
        pytest.skip("not made yet: python -m tests.benchmarks.make_motion")
    assert make_motion.made_of(make_motion.MOTION) == make_motion.digest()
    assert make_motion.MOTION.stat().st_size <= make_motion.MOST
