"""A run's report: made from its directory alone, verdict first, and never a crash for what is not there."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from loadtests.crowds.buckets import bucket, upper_ms
from loadtests.report import document, page, saying
from loadtests.report.axis import STEPS_MAX, Axis, Values
from loadtests.report.drawing import Backdrop, Line, Panel
from loadtests.report.making import ReportFault, make, read
from loadtests.report.plotting import plotted
from tests.unit.loadtests.made_run import BEGAN, Made
from tests.unit.loadtests.made_run import make as make_run

EVERY_FILE = (
    *("run.json", "schedule.npz", "windows.json", "samples.jsonl", "marks.jsonl", "seconds.jsonl"),
    "turnout.jsonl",
    *(
        "summary.json",
        "availability.json",
        "result.json",
        "check.json",
        "figures.json",
        "verdict.json",
        "quiet.json",
    ),
)
SHORT = Made(seconds=120)


class Elements(HTMLParser):
    """Every element of a page with its attributes, the text, and whether all that opens also closes."""

    VOID = frozenset({"meta", "path", "use", "rect", "line", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it; it is closed already."""
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """It must be the last one that was opened."""
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep what a person reads."""
        if not self.open or self.open[-1] not in {"style", "title"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a person reads, in order."""
        return re.sub(r"\s+", " ", " ".join(self.words))


def words_of(told: dict[str, Any]) -> Elements:
    """The page without its plots, which take long to draw."""
    return Elements(page.render(told | {"axis": None, "schedule": {"windows": []}}))


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that passed under siege, with its report."""
    folder = make_run(tmp_path_factory.mktemp("siege"), SHORT)
    make(folder)
    return folder


@pytest.fixture(scope="module")
def told(siege: Path) -> dict[str, Any]:
    """Its report.json."""
    value: dict[str, Any] = json.loads((siege / "report.json").read_text())
    return value


@pytest.fixture(scope="module")
def elements(siege: Path) -> Elements:
    """Its page."""
    return Elements((siege / "report.html").read_text())


def test_the_page_needs_nothing_else(siege: Path, elements: Elements) -> None:
    """No script, no image, no address: a reference of the page is to a part of itself, and is there."""
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    links = [value for _, all_ in elements.found for name, value in all_.items() if name in {"href", "src"}]
    text = (siege / "report.html").read_text()

    assert len(ids) == len(set(ids))
    assert links
    assert {link for link in links if link is None or link.removeprefix("#") not in ids} == set()
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    assert not re.search(r"https?://|@import|<script|<img|<link|#0a0b", text)
    assert not elements.open


def test_the_verdict_comes_first(elements: Elements) -> None:
    """The first words after the title are the verdict, and each question below has its answer."""
    assert re.match(r"\W*Load test of a ballot, 22 November 2025, 11:57 UTC Royal Mail 2023", elements.text)
    places = [elements.text.index(words) for words in ("Pass", "How many voted?", "What had to hold", "µs")]
    assert places == sorted(places)
    assert "Yes: the checker, which goes through books, receipts and signatures again" in elements.text
    assert "Yes: the count equals the published figures in all 7 lines" in elements.text


def test_every_plot_is_spoken_and_has_a_table(elements: Elements) -> None:
    """Each plot says in words what it shows, for a desk and for a phone; curves have their numbers behind."""
    plots = [attributes for tag, attributes in elements.found if tag == "svg" and "role" in attributes]

    assert len(plots) == 2 * 9
    assert all(len(str(plot["aria-label"])) > 40 for plot in plots)
    assert [tag for tag, _ in elements.found].count("summary") >= 7


def test_the_page_is_made_of_what_is_in_report_json(siege: Path, told: dict[str, Any]) -> None:
    """Nothing that the page is given is lost on the way to report.json: it can be made from that as well."""
    assert read(siege) == told


@pytest.mark.long
def test_the_same_run_gives_the_same_files(siege: Path, tmp_path: Path) -> None:
    """A report made twice is the same, byte for byte: no clock and no chance in it."""
    other = make_run(tmp_path / "again", SHORT)
    make(other)

    for name in ("report.json", "report.html"):
        assert (other / name).read_bytes() == (siege / name).read_bytes()


def test_numbers_are_those_of_the_files(siege: Path, told: dict[str, Any]) -> None:
    """Totals and quantiles are what one gets from the lines by hand."""
    lines = [json.loads(line) for line in (siege / "seconds.jsonl").read_text().splitlines()]
    waits = sorted(
        upper_ms(int(index))
        for line in lines
        for index, times in line["latency"].items()
        for _ in range(times)
    )

    assert told["measures"]["planned"] == sum(line["planned"] for line in lines)
    assert told["measures"]["accepted"] == sum(line["outcomes"]["accepted"] for line in lines)
    assert told["measures"]["refusals"]["403"] == sum(line["outcomes"].get("403", 0) for line in lines)
    assert told["measures"]["latency_ms"]["p99"] == pytest.approx(
        waits[-(-99 * len(waits) // 100) - 1], abs=0.1
    )
    assert sum(rate or 0 for rate in told["curves"]["rates"]["planned"]) == pytest.approx(
        told["measures"]["planned"], abs=1
    )
    assert told["measures"]["queue_oldest_s_max"] == 5.5
    assert told["letters"] == {"botnet": "A", "kill voterdb": "B", "guessing": "C"}


def test_the_turnout_is_what_an_official_saw(siege: Path, told: dict[str, Any]) -> None:
    """Each reading stands until the next; where stored votes ran behind, as far as in the file."""
    lines = [json.loads(line) for line in (siege / "turnout.jsonl").read_text().splitlines()]
    seen = told["curves"]["turnout"]
    lines = lines[: told["axis"]["steps"] // 5 - 1]
    for line in lines:
        step = line["at_us"] // 1_000_000 - BEGAN
        assert [seen[side][step + 4] for side in ("accepted", "stored")] == [line["accepted"], line["stored"]]
    behind = max(line["accepted"] - line["stored"] for line in lines)
    assert told["measures"]["unstored_max"] == max(told["curves"]["unstored"][10:]) == behind > 10
    assert seen["accepted"][:5] == [None] * 5  # nobody had looked yet


def test_what_nobody_looked_at_is_not_drawn(tmp_path: Path) -> None:
    """A turnout that fell silent is not shown as if it had gone on, and what is no reading is left out."""
    folder = make_run(tmp_path / "run", Made(seconds=60))
    readings = [{"at_us": (BEGAN + at) * 1_000_000, "accepted": at, "stored": at} for at in (5, 40)]
    lines = [readings[0], {"at_us": "x"}, {"accepted": 5}, readings[1]]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "turnout.jsonl").write_text(text, encoding="utf-8")
    accepted = read(folder)["curves"]["turnout"]["accepted"]
    assert accepted[5:42] == [5] * 15 + [None] * 20 + [40] * 2


def test_the_busiest_minute_is_found(told: dict[str, Any], siege: Path) -> None:
    """It is the 60 seconds with most votes due, wherever they begin."""
    due = [0] * SHORT.seconds
    for line in map(json.loads, (siege / "seconds.jsonl").read_text().splitlines()):
        due[line["s"] - BEGAN] += line["planned"]
    most = max(sum(due[begins : begins + 60]) for begins in range(len(due) - 59))

    assert told["measures"]["busiest_minute"]["planned"] == most


def _light(colour: str) -> float:
    """Relative luminance, as WCAG has it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_colours_differ_enough(dark: bool) -> None:
    """Letters stand out 4.5 to 1 from everything they stand on, curves and edges 3 to 1."""
    palettes = [
        dict(re.findall(r"--([\w-]+): (#\w+);", part)) for part in page.style().split("@media", 2)[:2]
    ]
    colours = palettes[0] | (palettes[1] if dark else {})

    def contrast(one: str, other: str) -> float:
        lights = sorted((_light(colours[one]), _light(colours[other])))
        return (lights[1] + 0.05) / (lights[0] + 0.05)

    letters = ("ink", "quiet", "link", "good", "wrong", "unsure")
    lines = ("band-edge", "limit", *(f"curve-{number}" for number in range(1, 7)))
    assert len(palettes[1]) == len(palettes[0])
    assert not [name for name in letters if contrast(name, "paper") < 4.5 or contrast(name, "tint") < 4.5]
    assert not [name for name in ("ink", "quiet") if contrast(name, "band") < 4.5]
    assert not [name for name in lines if contrast(name, "paper") < 3 or contrast(name, "band") < 3]


def test_members_and_choices_stay_out(told: dict[str, Any]) -> None:
    """What the voters' side keeps of single members is not in the report."""
    assert "m-000001" not in json.dumps(told)


@pytest.mark.parametrize("missing", EVERY_FILE)
def test_a_missing_file_is_told(missing: str, tmp_path: Path) -> None:
    """Whatever was not recorded, there is a report, and it says so."""
    folder = make_run(tmp_path / "run", Made(seconds=12))
    (folder / missing).unlink()

    assert missing in read(folder)["not_recorded"]
    assert f"{missing} is not in the run's directory." in words_of(read(folder)).text


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"null\n17\n", b"\xff\xfe\x00", b'{"a": ' * 9000])
def test_junk_is_told(junk: bytes, tmp_path: Path) -> None:
    """Files that hold anything else are as good as none, and no run at all is one plain sentence."""
    folder = make_run(tmp_path / "run", Made(seconds=12))
    for name in EVERY_FILE[1:]:
        (folder / name).write_bytes(junk)

    told = read(folder)
    assert told["verdict"]["verdict"] is None
    assert told["axis"] is None
    assert Elements(page.render(told)).text.index("No verdict") < 200
    (folder / "run.json").write_bytes(junk)
    with pytest.raises(ReportFault, match="No run has left anything"):
        read(folder)


def test_wrong_types_are_left_out(tmp_path: Path) -> None:
    """Lines and fields of another form than agreed do no harm."""
    folder = make_run(tmp_path / "run", Made(seconds=12))
    wrong = [
        {"s": "x"},
        {"s": BEGAN + 3, "planned": "many", "outcomes": [1], "latency": {"x": 1, "5": "y"}},
        {"s": 1e300, "planned": 1},
        {"at_us": None, "processes": {"name": 1}},
        {"at_us": BEGAN * 1e6, "processes": [{"name": 3}, 4], "turnout": 5, "store_lag_p99_s": "a"},
        {"kind": "fault", "name": None, "from_us": 1},
        {"kind": "fault", "name": "<b>&", "from_us": BEGAN * 1e6, "told": {"$x$": "<i>"}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in wrong)
    for name in ("seconds.jsonl", "samples.jsonl", "marks.jsonl"):
        with (folder / name).open("a", encoding="utf-8") as lines:
            lines.write(text)

    told = read(folder)
    assert told["axis"]["voting_s"] == 12
    found = words_of(told)
    assert "<b>&" in found.text
    assert not {"b", "i"} & {tag for tag, _ in found.found}


def test_a_run_of_one_second_with_strange_names(tmp_path: Path) -> None:
    """Names are text to the plots as well, whatever is in them, and one vote is enough to draw."""
    name = '<b>&"$x$ ŵ 投票 \x00\n'
    line = {"s": BEGAN, "planned": 1, "sent": 1, "outcomes": {name: 1}, "latency": {"3": 1}}
    mark = {"kind": "fault", "name": name, "from_us": BEGAN * 1e6, "to_us": BEGAN * 1e6, "told": {name: name}}
    (tmp_path / "seconds.jsonl").write_text(json.dumps(line))
    (tmp_path / "marks.jsonl").write_text(json.dumps(mark))
    (tmp_path / "run.json").write_text(json.dumps({"title": name, "command": name, "scale": 0.1}))

    found = Elements(page.render(read(tmp_path)))

    assert '<b>&"$x$ ŵ 投票' in found.text
    assert "b" not in {tag for tag, _ in found.found}
    assert "svg" in {tag for tag, _ in found.found}
    assert not found.open


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (Made(seconds=12, verdict="fail"), "3 did not hold"),
        (Made(seconds=12, verdict="void", besieged=False), "This run proves nothing, for or against"),
    ],
    ids=["fail", "void"],
)
def test_other_verdicts(made: Made, says: str, tmp_path: Path) -> None:
    """A failed run names what did not hold and the votes that tell so; a void one proves nothing."""
    words = words_of(read(make_run(tmp_path / "run", made))).text

    assert says in words
    assert ("0K3M-0007-QX7T-9ZBD" in words) == (made.verdict == "fail")


def test_who_never_had_a_receipt_is_told_with_the_waits(tmp_path: Path) -> None:
    """Two votes of a hundred: 99 of 100 were never answered, whatever the other 98 waited."""
    with (tmp_path / "seconds.jsonl").open("w") as lines:
        for second in range(70):
            line = {"s": BEGAN + second, "planned": 100, "sent": 103, "outcomes": {"accepted": 98}}
            line |= {"latency": {str(bucket(7.0)): 98}, "never": 2}
            lines.write(json.dumps(line) + "\n")
    (tmp_path / "run.json").write_text(json.dumps({"scale": 1}))
    (tmp_path / "summary.json").write_text(json.dumps({"unsent": 0}))

    told = read(tmp_path)
    found = words_of(told).text

    assert (told["measures"]["never"], told["measures"]["latency_ms"]["p99"]) == (140, None)
    assert told["measures"]["latency_ms"]["p50"] == pytest.approx(7.0, rel=0.05)
    assert told["curves"]["latency_ms"]["p99"] == [None] * len(told["curves"]["latency_ms"]["p99"])
    assert "99 of 100 never" in found
    assert "140 votes brought no receipt" in found
    assert "210 were sent again" in found
    assert told["curves"]["never"][:70] == [2] * 70


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    """Six hours are at most 1,500 points a curve, and nothing is lost of them."""
    seconds = 6 * 3600
    with (tmp_path / "seconds.jsonl").open("w") as lines:
        for second in range(seconds):
            line = {"s": BEGAN + second, "planned": 2, "sent": 2, "outcomes": {"accepted": 2}}
            lines.write(json.dumps(line | {"latency": {str(bucket(7.0)): 2}}) + "\n")

    told = document.build(tmp_path)

    assert told["measures"]["accepted"] == 2 * seconds
    assert -(-seconds // 15) <= STEPS_MAX
    for name in ("rates", "latency_ms"):
        assert {len(curve) for curve in told["curves"][name].values()} == {-(-seconds // 15)}
    assert set(told["curves"]["rates"]["accepted"]) == {2.0}


def test_the_axis_covers_the_votes_and_a_little_more() -> None:
    """Samples that go on long after the last vote do not squeeze the votes together."""
    axis = Axis.over(100, 699, until_s=90_000)

    assert (axis.voting_s, axis.step_s, axis.seconds) == (600, 1, 630)
    assert axis.step(99.9) is None
    assert axis.step(100) == 0
    assert axis.step(730) is None


def test_tables_and_curves_keep_the_clock() -> None:
    """However many steps are told as one, each row and each point stands at its own moment."""
    values: Values = [None] * 105
    values[100] = 7.0
    panel = Panel("votes", (Line("due", values),), saying.count)

    plot = plotted("votes", "Votes that were due, for the test.", (panel,), Backdrop(105.0))

    assert plot is not None
    assert plot.slot == "4 s"
    assert [row for row in plot.rows if row[1] != "-"] == [("1:40", "7")]


def test_from_the_command_line(siege: Path, tmp_path: Path) -> None:
    """`python -m loadtests.report DIR` makes both files anew; a directory without a run is one sentence."""
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "run.json").write_text((siege / "run.json").read_text())
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "loadtests.report"]

    done = subprocess.run([*command, bare], capture_output=True, text=True, check=True, timeout=120)
    empty = subprocess.run(
        [*command, tmp_path / "empty"], capture_output=True, text=True, check=False, timeout=120
    )

    assert Path(done.stdout.strip()) == bare / "report.html"
    assert "No verdict" in (bare / "report.html").read_text()
    assert json.loads((bare / "report.json").read_text())["verdict"]["verdict"] is None
    assert empty.returncode == 1
    assert empty.stderr.startswith("Error: No run has left anything in")
    assert len(empty.stderr.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written(siege: Path) -> None:
    """That is one sentence too."""
    siege.chmod(0o500)
    try:
        with pytest.raises(ReportFault, match="cannot be written"):
            make(siege)
    finally:
        siege.chmod(0o700)
