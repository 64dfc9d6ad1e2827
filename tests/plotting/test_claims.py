"""Claims with intervals and verdicts: which rows, where the points are, what is printed."""

import base64
import re

import pytest

from experiments.results import judged
from mmtutor.plotting import verdicts
from mmtutor.plotting.claims import extent, picture, said
from mmtutor.results import FOLDER, measured


def results(margin=0.0, found=None):
    def row(claim, values, **more):
        names = {"larger": "a", "smaller": "b", "source": "ours", "unit": "accuracy", "margin": margin, "found": found}
        return {"claim": claim, "values": dict(zip("ab", values, strict=True)), **names, **more}

    rows = [
        row("A beats <b>", ([0.9, 0.92, 0.91], [0.8, 0.83, 0.82])),
        row("A beats c", ([0.9, 0.92, 0.91], [0.92, 0.90, 0.905])),
        row("A beats d", ([0.5, 0.52, 0.51], [0.8, 0.83, 0.82])),
        row("Nats", ([50.0, 52.0, 51.0], [80.0, 83.0, 82.0]), unit="nats"),
    ]
    return {"experiment": "fusion", "what": "Fusion", "seeds": [0, 1, 2], "rows": judged(rows)}


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed in a notebook."""
    seen = []
    monkeypatch.setattr("mmtutor.plotting.claims.in_notebook", lambda: True)
    monkeypatch.setattr("mmtutor.plotting.claims.display", lambda data: seen.append(data))
    return seen


def test_a_table_has_the_chosen_rows_in_their_order(displayed):
    verdicts(results(), ["A beats d", "A beats <"])
    [shown] = displayed
    assert re.findall(r"<b>.</b> ([a-z ]+)</span>", shown["text/html"]) == ["does not hold", "holds"]
    assert re.search(r'<span data-row="fusion-[0-9a-f]{8}">A beats &lt;b&gt;</span>', shown["text/html"])
    assert shown["text/plain"].split("\n")[1].startswith("holds         +0.093 [")
    verdicts(results())
    assert displayed[1]["text/html"].count("<tr>") == 5


@pytest.mark.parametrize(("start", "n"), [("A beats", 3), ("B", 0)])
def test_a_beginning_that_is_not_that_of_one_claim_is_refused(start, n):
    with pytest.raises(ValueError, match=f"verdicts: {n} claims begin with '{start}'; one should"):
        verdicts(results(), [start])


def drawn(row, extent):
    svg = base64.b64decode(re.search(r"base64,([^\"]+)", picture(row, extent))[1]).decode()
    numbers = re.search(r'd="M([\d.]+) 8\.0H([\d.]+)".*cx="([\d.]+)"', svg)
    return [float(x) for x in numbers.groups()], svg


def test_a_picture_has_the_interval_at_its_scale_and_the_margin_in_the_middle():
    for margin in (0.0, 0.05):
        content = results(margin)
        largest = extent(content["rows"], "accuracy")
        ends = [abs(x - margin) for row in content["rows"][:3] for x in row["difference"]]
        assert largest == max(ends)
        for row in content["rows"][:3]:
            (low, high, mean), svg = drawn(row, largest)
            expected = [75 + 70 * (x - margin) / largest for x in row["difference"]]
            assert [mean, low, high] == pytest.approx(expected, abs=0.06)
            assert ("#009E73" in svg) == (row["verdict"] == "holds")
            assert 'd="M75.0 0V16"' in svg
    assert extent(content["rows"], "nothing") == 1.0  # and of differences that are all 0
    assert f'alt="holds: {said(content["rows"][0])}"' in picture(content["rows"][0], 1.0)


def test_a_difference_in_figures():
    first, *_, nats = results(margin=0.05, found=0.905)["rows"]
    assert said(first).startswith("+0.093 [+0.079, +0.108], claimed: more than +0.050; found it: 2 and 0 of 3 runs")
    assert said(nats).startswith("−30.7 [")


def test_a_script_prints_lines(capsys):
    verdicts(results(), ["A beats c"])
    assert capsys.readouterr().out.startswith("undecided     ")


def test_results_travel_with_the_package():
    for path in FOLDER.glob("*.json"):
        found = measured(path.stem)
        assert found["experiment"] == path.stem

    for wrong in ("no such", "../results/fusion", ""):
        with pytest.raises(ValueError, match=r"measured: no results of .*; there are .*fusion"):
            measured(wrong)
