"""Build the course as a static site: `python -m notebooks.book OUT`.

The pages are the notebooks with their stored outputs, the files of `notebooks/scratch`, the page
for the teacher and the sessions of `lessons`, and the reference pages of `notebooks/reference`. Nothing is executed. The
site is made by Sphinx with myst-nb and the theme sphinx-book-theme, which `pip install
sphinx-book-theme myst-nb sphinx-mathjax-offline` brings; it asks no other host for anything.

Where `[tool.notebooks] repository` of pyproject.toml is set, every notebook has buttons for Colab
and Binder, and links to files that are no page of the book lead to the repository. Where it is
empty, such links become plain text.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import posixpath
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from lib import EDITORS
from lib.atomic_files import path_of

from .build import BuildError, Tree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx-mathjax-offline")
LINK = re.compile(
    r"(?<!!)\[(?!!)([^\]\n]+(?:\n[^\]\n]+)?)\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)"
)
ABOUT_SETUP = re.compile(r"\n\n(The|Run the) folded cell below.+?(?=\n\n|\Z)", re.DOTALL)
CONF = """
project = "Model editing, from one pair to ten thousand"
html_title = project
author = copyright = ""
html_show_copyright = html_show_sphinx = False
extensions = ["myst_nb", "sphinx-mathjax-offline"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_merge_streams = True
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
html_theme = "sphinx_book_theme"
html_theme_options = {options!r}
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_context = {{"default_mode": "auto"}}
"""
CSS = """
.prev-next-footer, .header-article .btn-fullscreen-button { display: none; }
table.dataframe, div.cell_output table { display: block; overflow-x: auto; max-width: 100%; }
div.cell_output img { background: #fff; }
@media (max-width: 600px) {  /* names in a figure stay readable: it is moved sideways */
  div.cell_output { overflow-x: auto; }
  div.cell_output img { max-width: none !important; width: 540px !important; height: auto; }
  div.cell_output pre { white-space: pre-wrap; }
}
"""


class Book:
    """The pages of the book: {path inside it: text}, gathered from the checkout at `root`."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.repository = Tree(root / "notebooks").repository()
        self.pages: dict[str, str] = {}
        self.gather()

    def gather(self) -> None:
        """Read every page; links are followed when all of them are known."""
        read = {
            **self._files("notebooks", "*.ipynb"),
            **self._files("notebooks/reference", "*.md"),
            **self._files("lessons", "TEACHER.md"),
            **self._files("lessons", "STUDENTS.md"),
            **self._files("lessons", "session_*.md"),
            **self._files("lessons", "project.md"),
            **self._files("lessons", "GRADING.md"),
            **self._files("lessons", "EXERCISES.md"),
        }
        scratch = sorted((self.root / "notebooks/scratch").glob("[a-z]*.py"))
        made = {
            "notebooks/reference/which_editor.md": self._which_editor(),
            "notebooks/reference/bibliography.md": bibliography(),
            **{f"notebooks/scratch/{path.stem}.md": program(path) for path in scratch},
        }
        known = {*read, *made, *(f"notebooks/scratch/{path.name}" for path in scratch)}
        for page, text in {**read, **made}.items():
            if page.endswith(".ipynb"):
                self.pages[page] = self._notebook(page, text, known)
            else:
                self.pages[page] = self.linked(page, text, known)
        self.pages["index.md"] = self._index()

    def _files(self, folder: str, pattern: str) -> dict[str, str]:
        found = sorted((self.root / folder).glob(pattern), key=by_number)
        return {f"{folder}/{path.name}": path.read_text(encoding="utf-8") for path in found}

    def _notebook(self, page: str, text: str, known: set[str]) -> str:
        """A notebook whose links lead to pages, without its cell "setup" and the word about it."""
        book = json.loads(text)
        book["cells"] = [
            cell for cell in book["cells"] if "setup" not in cell["metadata"].get("tags", ())
        ]
        for cell in book["cells"]:
            if cell["cell_type"] == "markdown":
                words = ABOUT_SETUP.sub("", "".join(cell["source"]))
                cell["source"] = self.linked(page, words, known)
        return json.dumps(book)

    def linked(self, page: str, text: str, known: Iterable[str]) -> str:
        """The text of a page, with its links to other files of the checkout made to fit the book."""

        def follow(found: re.Match[str]) -> str:
            words, path, mark = found[1], found[2], found[3] or ""
            at = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
            if at in known:
                inside = at.removesuffix(".py") + ".md" if at.endswith(".py") else at
                way = posixpath.relpath(inside, posixpath.dirname(page))
                return f"[{words}]({way}{mark})"
            if not (self.root / at).exists():
                return found[0]  # an index and a call in code look like a link
            if self.repository:
                return f"[{words}](https://github.com/{self.repository}/blob/main/{at}{mark})"
            return words

        return LINK.sub(follow, text)

    def _which_editor(self) -> str:
        """README's section, which is the one place that says it."""
        readme = (self.root / "README.md").read_text(encoding="utf-8")
        found = re.search(r"^## (Which editor should I use\?)\n(.+?)(?=^## )", readme, re.M | re.S)
        if found is None:
            raise BuildError("README.md has no section 'Which editor should I use?'.")
        # links from this page, not from README
        text = re.sub(r"\]\((?!https?:|#)", "](../../", found[2])
        return f"# {found[1]}\n{text}"

    def _index(self) -> str:
        """The first page: what the book is, and its contents."""
        about = (self.root / "notebooks/reference/about.md").read_text(encoding="utf-8")
        about = re.sub(r"\]\((?!https?:)", "](notebooks/reference/", about)  # it stands higher here
        parts = (
            ("The walkthrough", lambda page: page.endswith(".ipynb")),
            ("From scratch", lambda page: page.startswith("notebooks/scratch/")),
            ("A class", lambda page: page.startswith("lessons/")),
            ("Reference", lambda page: "reference/" in page and not page.endswith("about.md")),
        )
        return about + "".join(self._contents(title, of) for title, of in parts)

    def _contents(self, title: str, wanted: Callable[[str], bool]) -> str:
        names = [page.rpartition(".")[0] for page in self.pages if wanted(page)]
        if not names:
            return ""
        head = f"\n```{{toctree}}\n:maxdepth: 1\n:caption: {title}\n\n"
        return head + "\n".join(names) + "\n```\n"

    def write(self, folder: Path) -> None:
        """Write the sources of the site and its settings into a folder."""
        for page, text in self.pages.items():
            (folder / page).parent.mkdir(parents=True, exist_ok=True)
            (folder / page).write_text(text, encoding="utf-8")
        (folder / "notebooks/reference/about.md").unlink(missing_ok=True)
        for picture in (self.root / "notebooks/reference").glob("*.svg"):
            shutil.copy(picture, folder / "notebooks/reference")
        (folder / "_static").mkdir()
        (folder / "_static/book.css").write_text(CSS, encoding="utf-8")
        options: dict[str, object] = {
            "show_toc_level": 2,
            "use_download_button": False,
            "navbar_persistent": [],
        }
        if self.repository:
            options |= {
                "repository_url": f"https://github.com/{self.repository}",
                "use_repository_button": True,
                "launch_buttons": {
                    "colab_url": "https://colab.research.google.com",
                    "binderhub_url": "https://mybinder.org",
                },
            }
        (folder / "conf.py").write_text(CONF.format(options=options), encoding="utf-8")


def by_number(path: Path) -> list[tuple[int, str]]:
    """What a file is sorted by: session_10 comes after session_9."""
    return [(int(part or 0), word) for word, part in re.findall(r"(\D*)(\d*)", path.name)]


def program(path: Path) -> str:
    """The page of one file of `notebooks/scratch`: its text, in the order in which it is read."""
    text = path.read_text(encoding="utf-8").rstrip("\n")
    return f"# {path.stem}.py\n\n````python\n{text}\n````\n"


def bibliography() -> str:
    """Each editor's paper, as its class names it."""
    papers: dict[str, list[str]] = {}
    for name, editor in EDITORS.items():
        papers.setdefault(editor.paper, []).append(f"`{name}`")
    lines = [
        f"* {linked_paper(paper)}: {', '.join(names)}" for paper, names in papers.items() if paper
    ]
    return (
        "# Bibliography\n\nThe paper of each editor of the library.\n\n" + "\n".join(lines) + "\n"
    )


def linked_paper(paper: str) -> str:
    """A citation whose arXiv number is a link."""
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper)


def main(arguments: list[str] | None = None) -> int:
    """Build the site; returns Sphinx's exit code, and 2 with a sentence where something is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "out", type=path_of, help="folder of the site, which may hold an earlier one"
    )
    out = parser.parse_args(arguments).out
    missing = [name.replace("_", "-") for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"the book needs: pip install {' '.join(missing)}", file=sys.stderr)
        return 2
    if out.exists() and (
        not out.is_dir() or (any(out.iterdir()) and not (out / "objects.inv").is_file())
    ):
        print(f"{out} holds something else than an earlier book", file=sys.stderr)
        return 2
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as folder:
        Book().write(Path(folder))
        code = build_main(["-q", "-W", "--keep-going", "-b", "html", folder, str(out)])
    print(f"{out / 'index.html'}" if code == 0 else "the book has warnings, see above")
    return code


if __name__ == "__main__":
    sys.exit(main())
