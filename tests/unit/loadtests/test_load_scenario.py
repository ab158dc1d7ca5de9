"""Scenario files are read strictly: totals add up, nothing is optional, every fault is one sentence."""

from pathlib import Path

import pytest

from ballot.definition import parse_toml
from loadtests import scenario
from loadtests.scenario import SCENARIOS, ScenarioFault

NOW_US = 1_750_000_000_000_000


def test_the_tube_ballot_is_the_published_one() -> None:
    """Row D of the published ballots, to the last vote."""
    tube = scenario.load("tube-two-questions")
    assert (tube.entitled, tube.votes) == (10_424, 6_228)
    assert tube.published == {
        "strike": {"yes": 6_004, "no": 209, "spoilt": 15},
        "asos": {"yes": 6_092, "no": 109, "spoilt": 27},
    }


@pytest.mark.parametrize("name", scenario.names())
def test_every_scenario_loads(name: str) -> None:
    """Each file in the folder is a scenario, and its ballot is called as the file is."""
    assert scenario.load(name).ballot == name


def test_a_run_moves_the_window_and_nothing_else() -> None:
    """The definition of a run differs from the published one in opens and closes only."""
    tube = scenario.load("tube-two-questions")
    moved = parse_toml(tube.definition_open_at(NOW_US))
    assert moved.opens_us < NOW_US < moved.closes_us
    changed = [
        line
        for line in tube.definition_open_at(NOW_US).splitlines()
        if line not in tube.definition_toml.splitlines()
    ]
    assert [line.split()[0] for line in changed] == ["opens", "closes"]


def test_a_scenario_can_be_played_under_another_id() -> None:
    """The same paper and figures as a ballot of another id."""
    tube = scenario.load("tube-two-questions")
    other = scenario.renamed(tube, "try-it")
    assert (other.ballot, other.published) == ("try-it", tube.published)


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        ("votes = 17", "votes = 18", "adds up to 18, not the 17 cast"),
        ("yes = 18\nno = -1", "yes = 18\nno = 0", "no must be a whole number"),
        ("entitled = 17", "entitled = 41", "more votes than people"),
        ("entitled = true", "entitled = 41", "entitled must be a whole number"),
        ("", "seed = 20240409", "lacks seed"),
        ("seed = 1\nspeed = 2", "seed = 20240409", "has speed, which nothing reads"),
        ("retry = 1.5", "retry = 0.01", "retry must be a share from 0 to 1"),
        ("[published.strike2]", "[published.strike]", "[published] lacks strike"),
        ('definition = "definitions/none.toml"', 'definition = "definitions/branch-41.toml"', "none.toml"),
        ("votes = = 3", "votes = 18", "Invalid value"),
    ],
)
def test_a_fault_is_one_sentence(tmp_path: Path, wrong: str, right: str, told: str) -> None:
    """What is wrong is named, with the scenario it is in."""
    text = (SCENARIOS / "branch-41.toml").read_text()
    assert right in text
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "branch-41.toml").write_text(
        (SCENARIOS / "definitions" / "branch-41.toml").read_text()
    )
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(right, wrong, 1))
    with pytest.raises(ScenarioFault, match=r"^Scenario mine") as raised:
        scenario.load(str(path))
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_scenario_names_the_known_ones() -> None:
    """Whoever mistypes a name is told the names."""
    with pytest.raises(ScenarioFault, match=r"there are branch-41, .*, tube-two-questions\.$"):
        scenario.load("tube")
