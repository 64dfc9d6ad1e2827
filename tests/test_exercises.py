"""Exercises: right answers of several kinds pass, usual wrong ones are told apart, and the notebooks are in step."""

import re
from typing import NamedTuple

import pytest
import torch

from mmtutor import exercises
from mmtutor.exercises import EXERCISES, check, mistake
from tools import exercises as made
from tools.notebooks import NOTEBOOKS, read_source

SOURCES = sorted(made.SOURCES.glob("[0-9]*.py"))


class Task(NamedTuple):
    """An exercise as its source has it."""

    number: str
    text: str
    answer: str  # the name that is handed in
    codes: list[tuple[str, str]]  # tag and code of each answer, before it the shared code


def tasks():
    found = []
    for source in SOURCES:
        shared, text, codes = "", "", []
        for cell in read_source(source).cells:
            tags = cell.metadata.get("tags", [])
            if cell.cell_type == "markdown":
                text = cell.source
            elif call := re.fullmatch(r'check\("([\d.]+)", (\w+)\)', cell.source.strip()):
                found.append(Task(call[1], text, call[2], [(tag, shared + "\n" + code) for tag, code in codes]))
                codes = []
            elif tags:
                codes.append((tags[0], cell.source))
            else:
                shared += cell.source + "\n"
    return found


TASKS = {task.number: task for task in tasks()}


def answer(task, code):
    space = {}
    exec(code, space)
    return space[task.answer]


def test_every_exercise_is_set_and_every_task_is_one():
    assert TASKS.keys() == EXERCISES.keys()
    assert [made.check(source, NOTEBOOKS) for source in SOURCES] == [[]] * len(SOURCES)


@pytest.mark.parametrize("number", EXERCISES)
def test_a_task_says_what_it_takes_and_two_right_answers_pass(number):
    task = TASKS[number]
    assert task.text.startswith(f"## {number} · ")
    assert re.search(r"\*\d+ minutes, (easy|medium|hard)\.\*", task.text)
    right = [code for tag, code in task.codes if tag in ("solution", "right")]
    assert len(right) >= 2
    for code in right:
        assert mistake(number, answer(task, code)) is None, code
    [starter] = [code for tag, code in task.codes if tag == "starter"]
    assert answer(task, starter) is None


@pytest.mark.parametrize("number", EXERCISES)
def test_usual_wrong_answers_are_told_apart(number):
    task = TASKS[number]
    wrong = [code for tag, code in task.codes if tag == "wrong"]
    names = []
    for code in wrong:
        found = mistake(number, answer(task, code))
        comment = re.findall(r"^# (.+)$", code, re.MULTILINE)[0]
        assert comment in found.name, (comment, found.name)
        assert found.hints
        assert all(hint.strip() for hint in found.hints)
        names.append(found.name)
    assert len(set(names)) == len(names) >= 3


@pytest.mark.parametrize("number", EXERCISES)
def test_anything_at_all_is_an_answer_that_gets_a_hint(number, capsys):
    for odd in (0, "x", [], torch.zeros(3), lambda *_: None, lambda: 1, {"accuracy": "high"}):
        found = mistake(number, odd)
        assert found is not None
        check(number, odd)
        assert capsys.readouterr().out.startswith(f"✗ {number}: {found.name}.\n  Hint: ")


def test_a_second_wrong_try_gets_a_second_hint(capsys, monkeypatch):
    monkeypatch.setattr(exercises, "_tried", type(exercises._tried)())
    hints = mistake("1.2", wrong := {"accuracy": 0.5, "bits": 0.0}).hints
    for hint in (*hints, hints[-1]):
        check("1.2", wrong)
        assert hint in capsys.readouterr().out
    for nothing in (None, ...):
        check("1.2", nothing)
        assert capsys.readouterr().out == "○ 1.2 is not answered yet.\n"
    with pytest.raises(ValueError, match=r"there is no exercise '9\.9'; there are 1\.1, "):
        check("9.9", 1)


def test_the_students_notebook_has_no_solution_and_the_teachers_no_starter():
    for source in SOURCES:
        for kind, never in (
            ("exercises", ("solution", "right", "wrong")),
            ("solutions", ("starter", "right", "wrong")),
        ):
            cells = made.notebook_of(source, kind).cells
            assert not [c for c in cells if set(c.metadata.get("tags", [])) & set(never)]
            assert sum(c.source.startswith('check("') for c in cells) >= 4
            assert "jupytext" not in made.notebook_of(source, kind).metadata
