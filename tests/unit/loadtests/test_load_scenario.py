"""Scenario files are read strictly: totals add up, nothing is optional, every fault is one sentence."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from ballot.definition import parse_toml
from loadtests.overlays.catalogue import OVERLAYS
from loadtests.published import scenario
from loadtests.published.arrivals import Arrivals, Reminder
from loadtests.published.scenario import SCENARIOS, Behaviour, GroupShape, PaperReturns, ScenarioFault

NOW_US = 1_750_000_000_000_000


def test_the_tube_ballot_is_the_published_one() -> None:
    """Row D of the published ballots, to the last vote."""
    tube = scenario.load("tube-two-questions")
    assert (tube.entitled, tube.votes) == (10_424, 6_228)
    assert tube.published == {
        "strike": {"yes": 6_004, "no": 209, "spoilt": 15},
        "asos": {"yes": 6_092, "no": 109, "spoilt": 27},
    }


EVERY = [(name, variant) for name in scenario.names() for variant in scenario.variants(name)]


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_every_scenario_loads(name: str, variant: str) -> None:
    """Each file in the folder is a scenario with its variants, and its ballot is called as the file is."""
    read = scenario.load(f"{name}:{variant}" if variant else name)
    assert (read.ballot, read.variant) == (name, variant)
    assert read.spec == f"{SCENARIOS / name}.toml" + (f":{variant}" if variant else "")
    assert scenario.load(read.spec) == read


def test_the_eight_ballots_are_there() -> None:
    """One a ballot that was published or shaped after one, the default variant first."""
    assert {name: scenario.variants(name) for name in scenario.names()} == {
        "branch-41": ["published", "met", "one-short", "two-short", "two-hundred"],
        "civil-service-214": ["shape-2022", "real-2024"],
        "close-of-poll-siege": ["dev", "full"],
        "million-and-a-third": ["a", "b", "c", "d"],
        "residents-hybrid": ["first-counts", "harsh"],
        "royal-mail-noon": ["calm", "crunch"],
        "teachers-11am": ["mail", "sms", "two-electorates"],
        "tube-two-questions": [""],
    }


@pytest.mark.parametrize(
    ("name", "entitled", "figures"),
    [
        ("residents-hybrid", 53_766, {"yes": 26_766, "no": 2_956, "spoilt": 19}),
        ("royal-mail-noon", 111_670, {"yes": 82_792, "no": 3_517, "spoilt": 40}),
        ("branch-41", 41, {"yes": 18, "no": 0, "spoilt": 0}),
    ],
)
def test_published_figures_are_the_published_ones(name: str, entitled: int, figures: dict[str, int]) -> None:
    """Rows C, A and F, to the last vote."""
    read = scenario.load(name)
    assert (read.entitled, read.published["strike"]) == (entitled, figures)


def test_a_variant_changes_what_it_names() -> None:
    """The crunch differs from the calm in title, weights, hazard and reissues, and in nothing else."""
    calm, crunch = scenario.load("royal-mail-noon:calm"), scenario.load("royal-mail-noon:crunch")
    assert calm == scenario.load("royal-mail-noon")
    assert (crunch.arrivals.deadline, crunch.arrivals.tau_minutes) == (0.3, 5)
    assert crunch.arrivals.reminders == calm.arrivals.reminders
    assert crunch.behaviour == replace(calm.behaviour, reissue=0.05)
    again = replace(crunch, title=calm.title, variant="calm")
    assert replace(again, arrivals=calm.arrivals, behaviour=calm.behaviour) == calm


def test_an_unknown_variant_names_the_known_ones() -> None:
    """As an unknown scenario does."""
    with pytest.raises(ScenarioFault, match=r"no variant 'clam'; there are calm, crunch\.$"):
        scenario.load("royal-mail-noon:clam")


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.037, 0.001, 1e-6])
@pytest.mark.parametrize("name", ["tube-two-questions", "million-and-a-third:d", "branch-41"])
def test_a_scaled_scenario_still_adds_up(name: str, scale: float) -> None:
    """Every question adds up to the votes, no figure is off by a vote, and its spec gives it again."""
    whole = scenario.load(name)
    small = scenario.scaled(whole, scale)
    assert 1 <= small.votes <= small.entitled <= whole.entitled
    assert small.votes == max(1, round(whole.votes * scale))
    for question, figures in small.published.items():
        assert sum(figures.values()) == small.votes
        for option, votes in figures.items():
            assert abs(votes - whole.published[question][option] * small.votes / whole.votes) < 1
    assert scenario.load(small.spec) == small


@pytest.mark.parametrize("scale", ["0", "2", "0.0"])
def test_a_scale_is_above_0_and_at_most_1(scale: str) -> None:
    """Anything else is a fault in one sentence."""
    with pytest.raises(ScenarioFault, match="a scale is above 0 and at most 1"):
        scenario.load(f"branch-41@{scale}")


def test_a_share_of_the_votes_comes_on_paper() -> None:
    """A fifth of the residents' votes; the others are cast online."""
    residents = scenario.load("residents-hybrid")
    assert (residents.paper_votes, residents.online_votes) == (5_948, 23_793)
    assert scenario.load("tube-two-questions").paper_votes == 0


def test_overlays_have_their_time() -> None:
    """The siege has each overlay once, all of them in the last ten minutes and none longer than that."""
    siege = scenario.load("close-of-poll-siege")
    assert sorted(call.name for call in siege.overlays) == sorted(OVERLAYS)
    assert all(0 <= call.begins(600) <= call.begins(600) + call.seconds <= 600 for call in siege.overlays)
    assert {call.begins(9_000) - call.begins(600) for call in siege.overlays} == {8_400}
    for variant in ("dev", "full"):
        small, large = (scenario.load(f"close-of-poll-siege:{variant}{scale}") for scale in ("@0.5", ""))
        thin, line = (call.parameters["line_bits"] for each in (small, large) for call in each.overlays[:1])
        assert 2 * float(thin) == line
    assert scenario.OverlayCall("cap", 5, 60).begins(600) == 5


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
        ("hours = 0", "hours = 336", "hours must be a number from 0.1 to 8784"),
        ("hours = nan", "hours = 336", "hours must be a number"),
        ("opens_hour = 24", "opens_hour = 9", "opens_hour must be a number from 0 to 23.99"),
        ("launch = 0.7", "launch = 0.6", "weights that add up to 1.1, not to 1"),
        ("launch = -0.6", "launch = 0.6", "launch must be a share from 0 to 1"),
        ("tau_minutes = 0", "tau_minutes = 60", "tau_minutes must be a number from 0.1"),
        ("reminders = 3", "reminders = []", "reminders must be a list"),
        ("reminders = [{at_hours = 1}]", "reminders = []", "[arrivals] reminders lacks weight"),
        (
            "reminders = [{at_hours = 336, weight = 0}]",
            "reminders = []",
            "has one at 336 hours, when the ballot of 336 hours is closed",
        ),
        ("speed = 1\nbase = 0.3", "base = 0.3", "[arrivals] has speed, which nothing reads"),
        ("late = 2\nretry = 0.01", "retry = 0.01", "late must be a share from 0 to 1"),
        ("at_close = 10001\nretry = 0.01", "retry = 0.01", "at_close may be 10,000 at most"),
        ("think_sigma = 4\nretry = 0.01", "retry = 0.01", "think_sigma must be a number from 0 to 3"),
        ("[paper]\nshare = 0.2\n[behaviour]", "[behaviour]", "[paper] lacks also_paper, late, rejected"),
        ("overlays = 1\n[scenario]", "[scenario]", "[[overlays]] must be a list"),
        (
            '[[overlays]]\nname = "flood"\nfrom_s = 0\nseconds = 60\n[behaviour]',
            "[behaviour]",
            "[[overlays]] knows no 'flood'; there are cap, botnet",
        ),
        (
            '[[overlays]]\nname = "cap"\nfrom_s = 0\nseconds = 60\nrate = [1]\n[behaviour]',
            "[behaviour]",
            "cap has rate, which must be a number or a text",
        ),
        (
            "[group]\nballots=9\npareto=1\nlargest=0\nsmall=9\none_short=0\nexactly=0\n[behaviour]",
            "[behaviour]",
            "[group] wants more special ballots than there are",
        ),
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


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("variants = 1", "[variants] must be a table"),
        ("[variants.x]\nscenario.votes = 18", "[variants.x] lacks title"),
        ("[variants.x]\ntitle = 'x'\nspeed = 1", "[variants.x] has speed, which nothing reads"),
        ("[variants.x]\ntitle = 'x'\nscenario = [1]", "[variants.x] scenario must be a table"),
        ("[variants.x]\ntitle = 'x'\narrivals.speed = 1", "[arrivals] has speed, which nothing reads"),
        ("[variants.x]\ntitle = 'x'\nscenario.votes = 19", "adds up to 18, not the 19 cast"),
        ("[variants.x]\ntitle = 3", "title must be a text"),
    ],
)
def test_a_fault_in_a_variant_is_one_sentence(tmp_path: Path, table: str, told: str) -> None:
    """Whatever is wrong with it is said when it is asked for."""
    text = (SCENARIOS / "branch-41.toml").read_text().partition("\n[variants")[0]
    (tmp_path / "definitions").symlink_to(SCENARIOS / "definitions")
    path = tmp_path / "mine.toml"
    path.write_text(f"{table}\n{text}" if table.startswith("variants") else f"{text}\n{table}\n")
    with pytest.raises(ScenarioFault, match=r"^Scenario mine") as raised:
        scenario.load(f"{path}:x")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_group_has_no_latecomers(tmp_path: Path) -> None:
    """What a group cannot play is refused rather than left out."""
    text = (SCENARIOS / "teachers-11am.toml").read_text()
    (tmp_path / "definitions").symlink_to(SCENARIOS / "definitions")
    (tmp_path / "mine.toml").write_text(text.replace("behaviour = { late = 0, at_close = 0 }", ""))
    with pytest.raises(ScenarioFault, match="a group has no papers, and nobody who comes late"):
        scenario.load(f"{tmp_path / 'mine.toml'}:two-electorates")


def documented() -> str:
    """The file in the documentation."""
    text = (SCENARIOS.parent / "README.md").read_text(encoding="utf-8")
    return text.partition("```toml\n")[2].partition("```")[0]


@pytest.mark.parametrize("left_out", ["paper", "group"])
def test_the_documented_file_is_a_scenario(tmp_path: Path, left_out: str) -> None:
    """Every table of it is read, and its variant; one ballot has papers and latecomers, a group neither."""
    tables = re.split(r"(?m)^(?=\[)", documented())
    text = "".join(table for table in tables if not table.startswith(f"[{left_out}]"))
    if left_out == "paper":
        text = re.sub(r"(?m)^(late|at_close) = .*\n", "", text)
    (tmp_path / "definitions").symlink_to(SCENARIOS / "definitions")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    read = scenario.load(f"{tmp_path / 'mine.toml'}:crunch@0.5")
    assert (read.variant, read.scale, read.last_minutes, len(read.overlays)) == ("crunch", 0.5, 150, 1)
    assert (read.paper is None, read.group is None) == (left_out == "paper", left_out == "group")


def test_every_field_is_documented() -> None:
    """Whatever a file may say stands in the documented one."""
    tables = (Behaviour, Arrivals, Reminder, PaperReturns, GroupShape)
    wanted = {field.name for table in tables for field in fields(table)} | {"hours", "opens_hour"}
    assert (
        sorted(name for name in wanted if not re.search(rf"(^|[{{ ]){name} = ", documented(), re.MULTILINE))
        == []
    )
    assert all(f"`{name}`" in (SCENARIOS.parent / "README.md").read_text() for name in scenario.names())
