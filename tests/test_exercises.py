"""Exercises: right answers of several kinds pass, usual wrong ones are told apart, and the notebooks are in step."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import pytest
import torch

from mmtutor import exercises
from mmtutor.exercises import EXERCISES, check, mistake
from mmtutor.exercises.digit_world import readers
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
    assert not re.search(r"function\s+(to|from)\b", task.text)  # it could be read as "in order to"
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
        assert len({hint.strip() for hint in found.hints} - {""}) == len(found.hints) >= 2
        names.append(found.name)
    assert len(set(names)) == len(names) >= 3


@pytest.mark.parametrize("number", EXERCISES)
def test_anything_at_all_is_an_answer_that_gets_a_hint(number, capsys):
    for odd in (0, "x", [], torch.zeros(3), lambda *_: None, lambda: 1, {"accuracy": "high"}):
        found = mistake(number, odd)
        assert found is not None
        check(number, odd)
        out = capsys.readouterr().out
        assert out.startswith(f"✗ {number}: {found.name}.\n")
        assert "\n  Hint: " in out
        assert len(out) < 500


def changed(value):
    """An answer with one number that is not right."""
    if isinstance(value, Mapping):
        return {**value, (last := list(value)[-1]): changed(value[last])}
    if isinstance(value, tuple | list):
        return (*value[:-1], changed(value[-1]))
    flat = torch.as_tensor(value).clone().flatten()
    flat[-1] += 17
    return flat.view(torch.as_tensor(value).shape)


@pytest.mark.parametrize("number", [number for number, exercise in EXERCISES.items() if exercise.right])
def test_an_answer_without_a_name_is_shown_by_one_number_and_has_two_hints(number):
    exercise = EXERCISES[number]
    wrong = (lambda *given: changed(exercise.right(*given))) if exercise.inputs else changed(exercise.right())
    found = mistake(number, wrong)
    assert (found.name, found.hints) == (exercise.other, exercise.hints)
    assert len(set(found.hints)) == 2
    assert len(found.seen) < 350
    if exercise.inputs:
        assert re.fullmatch(r"with argument 1 = .+ is [-\d.]+, and [-\d.]+ is right", found.seen)
    else:
        assert re.fullmatch(r"the answer\[.+\] is [\d.]+, and this is not right", found.seen)


@pytest.mark.parametrize("number", EXERCISES)
def test_every_mistake_has_a_first_and_a_second_hint(number):
    assert all(len(set(usual.hints)) == len(usual.hints) >= 2 for usual in EXERCISES[number].wrong)


@pytest.mark.parametrize(
    ("number", "code", "of", "given", "expected"),
    [
        ("1.2", "(0.1, 0)", "the answer", "a tuple of 2 parts", "a dict with 'accuracy' and 'bits'"),
        ("1.2", "{'accuracy': 0.1, 'bits': [1]}", "the answer['bits']", "a list of 1 part", "one number"),
        ("1.4", "torch.ones(2, 3)", "the answer", "a tensor of shape (2, 3)", "a tensor of shape (10, 10, 10)"),
        ("2.4", "lambda log_p, label: None", "its result", "nothing (None)", "one number"),
        ("8.3", "lambda q: q.sum(0)", "its result", "a tensor of shape (6,)", "one number"),
        ("8.4", "lambda z, y: y.roll(1)", "its result", "a tensor of shape (8,)", "a tuple of 2 parts"),
        (
            "8.4",
            "lambda z, y: (z | {'label': y.roll(1)}, y)",
            "its result[0]['label']",
            "a tensor of shape (8,)",
            "a tensor of shape (8, 3)",
        ),
    ],
)
def test_kinds_and_shapes_are_compared_before_values(number, code, of, given, expected):
    found = mistake(number, eval(code))
    assert (found.name, found.seen) == (f"{of} is {given}, and {expected} is expected", "")
    assert len(found.hints) == 2


def test_what_differs_is_shown_by_its_place_and_with_names_of_the_reader(capsys):
    check("8.4", lambda codes, digits: (codes, digits))
    seen = "  With codes = a dict with 'label', 'handwritten' and 'street' and digits = [3, 3, 7, 1, 1, 1, 3, 3], "
    assert seen + "its result[0]['label'][0, 0] is " in capsys.readouterr().out
    assert mistake("1.4", readers() + torch.eye(10)[5]).seen.startswith("the answer[0, 0, 5] is 1, and")
    right = EXERCISES["8.3"].right
    given, wanted = re.findall(r"is ([\d.]+), and ([\d.]+) is right", mistake("8.3", lambda q: right(q) + 1e-4).seen)[0]
    assert float(given) - float(wanted) == pytest.approx(1e-4, rel=1e-3)


def test_an_input_that_is_changed_is_told_and_never_shown():
    def in_place(label):
        label[:] = label[:1]

    def spoils(latents, label):
        in_place(label)
        return EXERCISES["8.4"].right(latents, torch.tensor([0, 1]))

    found = mistake("8.4", spoils)
    assert found.name == "your function changes its input label; work on a copy"
    assert len(found.hints) == 2

    def stops(latents, label):
        in_place(label)
        raise ValueError("no")

    found = mistake("8.4", stops)
    assert found.name == "it stops with ValueError: no"
    assert "label = [3, 3, 7, 1, 1, 1, 3, 3]" in found.hints[0]

    def people(people, share, seed):
        in_place(people)
        return torch.ones(len(people), dtype=torch.bool)

    assert mistake("1.3", people).name == "your function changes its input people; work on a copy"


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
