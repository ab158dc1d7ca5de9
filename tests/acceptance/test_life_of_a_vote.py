"""The life of a vote, as the README tells it and in its order, on a deployment of its own."""

import json
import re
import urllib.request
from typing import Any

import pytest

from ballot import receipt as receipts
from ballot.encoding import b64decode
from ballot.receipt import Receipt
from loadtests.published.plan import Paper
from loadtests.staging.stage import Stage, wait_until
from loadtests.voting.voter import Refused, access_body
from ops.trimming import Trimmer
from runtime.clock import SystemClock
from runtime.home import Home
from runtime.lifecycle import run_async
from runtime.servers import servers
from tests.acceptance.small_ballot import STORED_SECONDS_MAX, SmallBallot, yes

YES, NO = yes("yes", "yes"), yes("no", "yes")
BLANK_STRIKE = Paper(answers=(("strike", ()), ("asos", ("no",))), legal=True)


def test_life_of_a_vote(stage: Stage) -> None:
    """From the letter with the code to the signed result, each step as a person would take it."""
    # The scrutineer sets the ballot up: definition, key in shares, roll, codes; then it opens.
    ballot = SmallBallot(stage, "life-of-a-vote")
    ballot.set_up()

    # 1. The voter's device fetches the page, with the ballot document in it, and checks the desk's signature.
    booth = ballot.booth()
    assert document_in_page(stage, ballot) == booth.document.canonical
    code = ballot.code("A-1")

    # 2. It asks whether the code is good here, by the credential's digest only. Nothing is used up by asking.
    for _ in range(2):
        assert ballot.post(access_body(booth, code), to="access") == (200, {"state": "ready"})

    # 3. The voter answers. The device pads, seals to the ballot's key, binds to the credential, signs once.
    vote = ballot.seal(code, YES)

    # 4. and 5. The edge takes it to the queue, whose one function decides; the answer comes after the fsync.
    status, fields = ballot.post(vote.to_json())
    assert status == 201

    # 6. From here the voter has voted: the receipt is signed by a published key, for exactly what was sent.
    receipt = Receipt.from_dict(fields)
    receipts.verify(receipt, booth.receipt_keys[receipt.key_id])
    assert receipt.sealed_sha256 == vote.sealed_sha256
    # A retry is safe: the identical vote gets the same reference. Another choice is refused.
    status, fields = ballot.post(vote.to_json())
    assert (status, Receipt.from_dict(fields).leaf) == (200, receipt.leaf)
    with pytest.raises(Refused, match="contact"):
        ballot.cast(ballot.seal(code, NO))
    # Others vote too: a no, a question left blank, and one who lost the letter and has a new code.
    others = [ballot.cast(ballot.seal(ballot.code("B-2"), NO))]
    others.append(ballot.cast(ballot.seal(ballot.code("C-3"), BLANK_STRIKE)))
    new_code = ballot.reissued_code("D-4")
    with pytest.raises(Refused):
        ballot.cast(ballot.seal(ballot.code("D-4"), NO))
    others.append(ballot.cast(ballot.seal(new_code, YES)))

    # 7. A worker checks signature and register, and stores the vote as cast.
    for reference in (receipt.reference, *(other.reference for other in others)):
        ballot.wait_for_state(reference, "stored")

    # 8. The desk sees the turnout, and never a choice.
    turnout = {"accepted": {"electronic": 4}, "stored": {"electronic": 4}}
    wait_until(
        lambda: status_of(stage, ballot)["turnout"] == turnout, seconds=STORED_SECONDS_MAX, what="the turnout"
    )
    assert "yes" not in json.dumps(status_of(stage, ballot))

    # What is stored and counted leaves the queue, here without growing old first; nothing below needs it.
    assert run_async(lambda: trimmed(stage, ballot)) > 0

    # 9. At close the stream drains; a late vote is told so, and a late retry still gets its reference.
    stage.run("close", ballot.ballot)
    late = ballot.seal(ballot.code("E-5"), YES)
    status, fields = ballot.post(late.to_json())
    assert (status, fields["error"]) == (409, "not_open")
    status, fields = ballot.post(vote.to_json())
    assert (status, fields["reference"]) == (200, receipt.reference)

    # 10. The desk exports the votes, shuffled and without identifiers; two key holders open and count them.
    result = ballot.tally()

    # 11. The result is signed with the key that only the shares can make, and its books balance.
    stage.run("verify", ballot.result_file)
    assert (result["entitled"], result["votes_cast"], result["by_method"]["electronic"]) == (5, 4, 4)
    counted = {question["id"]: (question["counts"], question["spoilt"]) for question in result["questions"]}
    assert counted == {"strike": ({"yes": 2, "no": 1}, 1), "asos": ({"yes": 3, "no": 1}, 0)}
    assert not any(result["set_aside"].values())
    assert not any(result["quarantined"].values())
    check_against(stage, ballot, [receipt, *others])


def check_against(stage: Stage, ballot: SmallBallot, held: list[Receipt]) -> None:
    """The receipts that voters hold verify, and the books agree with each of them."""
    kept = ballot.files / "receipts.jsonl"
    kept.write_text("".join(json.dumps(one.to_dict()) + "\n" for one in held), encoding="utf-8")
    stage.run("verify", kept)
    stage.run("check", ballot.ballot, "--receipts", kept, "--signatures", "--result", ballot.result_file)


async def trimmed(stage: Stage, ballot: SmallBallot) -> int:
    """How many entries `ballot trim` takes out of the ballot's streams when age does not matter."""
    home = Home(stage.home)
    with servers(home, stage.env) as found:
        trimmer = Trimmer(found, note=None, clock=SystemClock(), least_age_s=0.0)
        try:
            done = await trimmer.round()
        finally:
            await trimmer.close()
    return sum(each.entries for each in done if each.ballot == ballot.ballot)


def document_in_page(stage: Stage, ballot: SmallBallot) -> bytes:
    """The ballot document that stands in the voter's page."""
    address = f"{stage.url}/b/{ballot.ballot}"
    with urllib.request.urlopen(address, timeout=10) as page:  # noqa: S310  # our own stage
        island = re.search(r'id="island">(.*?)</script>', page.read().decode(), re.DOTALL)
    assert island is not None
    return b64decode(json.loads(island[1])["document"])


def status_of(stage: Stage, ballot: SmallBallot) -> dict[str, Any]:
    """`ballot status --json`."""
    told: dict[str, Any] = json.loads(stage.run("status", ballot.ballot, "--json"))
    return told
