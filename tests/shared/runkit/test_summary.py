"""What a stage says at its end."""

import pytest
from runkit.summary import print_summary


def test_numbers_stand_below_each_other_texts_at_the_left_and_all_lines_of_one_together(
    capsys: pytest.CaptureFixture[str],
):
    print_summary("pkg.stage", {"steps": 40, "loss": 0.123456789, "best": "first\nsecond", "page": "p" * 200})
    assert capsys.readouterr().out.splitlines() == [
        "pkg.stage",
        "  steps        40",
        "  loss   0.123457",
        "  best   first",
        "         second",
        f"  page   {'p' * 200}",
    ]


def test_nothing_is_said_of_nothing(capsys: pytest.CaptureFixture[str]):
    print_summary("pkg.stage", {})
    assert capsys.readouterr().out == ""
