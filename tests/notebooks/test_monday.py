"""What a session needs on its day: printable, and without a solution in what students get."""

import io
import json
import re
import zipfile

import pytest

from lessons import exam, printing
from lessons.__main__ import main
from notebooks import slides
from tests.notebooks.test_student_edition import bodies


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    """The folders of all sessions, by their numbers."""
    place = tmp_path_factory.mktemp("weeks")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(printing, "BROWSERS", ())
        for number in range(1, 11):
            call = ["monday", str(number), "--to", str(place / str(number))]
            assert main([*call, "--students", "2", "--seed", "5"]) == 0
    return {number: place / str(number) for number in range(1, 11)}


def test_what_students_get_holds_no_solution_and_no_answer(week):
    known, given = [*bodies()], set()
    for number, folder in week.items():
        archive = zipfile.ZipFile(io.BytesIO((folder / "student.zip").read_bytes()))
        names = [name for name in archive.namelist() if not name.endswith("/")]
        assert not given & {*names}, "a page that students work on would be written over"
        assert all(re.fullmatch(r"student/\d\d[a-z]?_\w+\.ipynb", name) for name in names)
        given |= {*names}
        for name in names:
            text = archive.read(name).decode()
            spaced = " ".join("\n".join(code(json.loads(text))).split())
            assert not [n for n, lines in known if any(line in spaced for line in lines)], name
            assert "<summary>Solution" not in text and "image/png" not in text
        quiz = (folder / "quiz.html").read_text()
        told = slides.lesson(number)
        answers = re.split(r"\d+\. \*\*[abc]\.\*\* ", told.answers)[1:]
        assert len(answers) == 5 == quiz.count("before:") and quiz.count("<section>") == 1
        assert not any(printing.html(text.strip()).strip()[3:-4] in quiz for text in answers)
        sheets = (folder / "exam/sheets.html").read_text()
        assert sheets.count("<section>") == 2 and "Answers to" not in sheets
    assert len(given) == 21


def code(page):
    return ["".join(cell["source"]) for cell in page["cells"]]


def test_the_exam_of_a_week_asks_about_what_was_taught(week):
    headings = set(re.findall(r"<h2>(.+?)</h2>", (week[2] / "exam/sheets.html").read_text()))
    wanted = [printing.html(f"## {exam.titles()[page]}") for page in ("00", "01", "02", "04")]
    assert headings == {text.strip()[4:-5] for text in wanted}


def test_the_teachers_sheet_has_minutes_answers_pitfalls_and_the_seed(week):
    for number, folder in week.items():
        sheet = (folder / "teacher.html").read_text()
        assert sheet.count("<section>") == 1 and "seed 5" in sheet and "the five questions" in sheet
        assert f"class students/ {number} --out" in sheet and "<h2>Pitfalls" in sheet
        assert not re.search(r"(?<!\.venv/bin/)python -m", sheet)
        assert len(re.findall(r"<strong>[abc]\.</strong>", sheet)) == 5 and "](" not in sheet


def test_nothing_is_written_over_and_no_session_is_made_up(tmp_path, capsys):
    assert main(["monday", "1", "--to", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["monday", "11", "--to", str(tmp_path / "new")])
    assert "invalid choice: 11" in capsys.readouterr().err and not [*tmp_path.iterdir()]


@pytest.mark.browser
@pytest.mark.skipif(
    not any(map(printing.shutil.which, printing.BROWSERS)), reason="there is no browser"
)
def test_the_teachers_sheet_and_the_quiz_are_one_page_each(week):
    for folder in week.values():
        for name in ("teacher.html", "quiz.html"):
            assert printing.pdf(folder / name)
            made = (folder / name).with_suffix(".pdf").read_bytes()
            assert len(re.findall(rb"/Type /Page\b", made)) == 1, folder
