"""Lists: which entry decides, what is refused, and that a swap never mixes two versions."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi.testclient import TestClient

from benchmarks.variants import write_variant
from handler.records.record import Recorder
from handler.releases.lists import (
    Entry,
    ListFile,
    Lists,
    ListsError,
    hashed_value,
    key_fingerprint,
    lists_key,
    lists_version,
    parse_lists,
)
from handler.releases.served import Served, Slot
from handler.scoring.bundle import MANIFEST
from handler.scoring.scorer import Scorer, load_scorer
from handler.web.routes import create_app
from tests.handler.deployment import BUNDLES, Deployment
from tests.handler.record_lines import record_lines
from training.delivery.lists_writer import ListStore
from training.delivery.store_writer import store_json
from training.errors import StageError

ROUTE = "/api/v1/refund-predict"
REQUEST: dict[str, Any] = {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 20, "refund_id": "r1"}
KEY, OTHER_KEY = b"a deployment's own", b"another"
NOW = 1_800_000_000.0


def entry(name: str, value: str, field: str = "account_id", key: bytes = KEY, **changes: Any) -> Entry:  # noqa: ANN401
    """An entry of a list."""
    content = {"list": name, "field": field, "value": hashed_value(field, value, key), "reason": f"{name} it"}
    return Entry.model_validate(content | {"by": "an analyst", "at": NOW} | changes)


def lists_of(scorer: Scorer, *entries: Entry) -> Lists:
    """Lists with these entries."""
    file = ListFile(format=1, scorer="refund", serial=1, fingerprint=key_fingerprint(KEY), entries=entries)
    return Lists("0" * 12, file, scorer.contract, KEY)


def client_of(scorer: Scorer, *entries: Entry, recorder: Recorder | None = None) -> TestClient:
    """A client of a scorer with these entries on its lists."""
    slot = Slot(scorer)
    slot.served = Served(scorer, None, lists_of(scorer, *entries))
    return TestClient(create_app({"refund": slot}, recorder=recorder))


@pytest.mark.parametrize(
    ("name", "band", "prediction"), [("block", "block", 1), ("review", "review", 1), ("allow", "approve", 0)]
)
def test_a_list_decides_and_the_score_is_computed_all_the_same(
    refund: Scorer, tmp_path: Path, name: str, band: str, prediction: int
) -> None:
    """The answer names list, field and reason; the record keeps what the model decided."""
    harmless = {"yearsActive": 5.0, "amount": 20.0, "refunds": 0, "accountId": "a-17"}
    client = client_of(refund, entry(name, "a-17"), recorder=Recorder(str(tmp_path / "log")))
    plain = TestClient(create_app({"refund": Slot(refund)}))
    for request in (harmless, REQUEST | {"accountId": "a-17"}):
        answer, expected = client.post(ROUTE, json=request).json(), plain.post(ROUTE, json=request).json()
        assert (answer["band"], answer["prediction"]) == (band, prediction)
        assert answer["list"] == {"name": name, "field": "account_id", "reason": f"{name} it"}
        assert ("reasons" in answer) == bool(prediction)
        probabilities = [a["confidence"] if a["prediction"] else 1 - a["confidence"] for a in (answer, expected)]
        assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-15)
        line = record_lines(tmp_path / "log")[-1]
        assert (line["list"], line["flagged"], line["band"]) == (name, bool(expected["prediction"]), expected["band"])
        assert ("contributions" in line) == bool(prediction or expected["prediction"])
    for_auditors = client.post(f"{ROUTE}?reader=auditor", json=REQUEST | {"accountId": "a-17"}).json()
    assert for_auditors["list"] == {"name": name, "field": "account_id", "reason": f"{name} it"}
    other = client.post(ROUTE, json=REQUEST | {"accountId": "a-18"}).json()
    assert "list" not in other


def test_a_customer_is_not_told_of_lists(refund: Scorer) -> None:
    """The answer has neither the analyst's words nor the model's reasons, which did not decide."""
    client = client_of(refund, entry("review", "a-17"))
    listed, other = (
        client.post(f"{ROUTE}?reader=customer", json=REQUEST | {"accountId": account}).json()
        for account in ("a-17", "a-18")
    )
    assert (listed["reasons"], "list" in listed) == ([], False)
    assert {"code": "R1", "text": "Many refunds were asked for."} in other["reasons"]


def test_the_strictest_list_counts(refund: Scorer) -> None:
    """It decides if several fields or lists match; each request of a batch is decided separately."""
    client = client_of(
        refund, entry("allow", "a-17"), entry("review", "a-17"), entry("block", "10.0.0.1", field="ip_address")
    )
    account = REQUEST | {"accountId": "a-17"}
    batch = [account, account | {"ipAddress": "10.0.0.1"}, REQUEST | {"ipAddress": "10.0.0.1"}, REQUEST]
    answers = client.post(f"{ROUTE}/batch", json=batch).json()
    assert [answer.get("list", {}).get("name") for answer in answers] == ["review", "block", "block", None]


def test_an_expired_entry_does_not_count(refund: Scorer) -> None:
    """It ends with the second of its expiry; another entry of the same value that does not expire still counts."""
    lists = lists_of(refund, entry("block", "a-17", expires=NOW), entry("allow", "a-17"))
    request = refund.request_model.model_validate(REQUEST | {"accountId": "a-17"})
    names = [decisive.list if decisive else None for now in (NOW - 1, NOW) for decisive in lists.found([request], now)]
    assert names == ["block", "allow"]


def test_a_control_group_lets_nothing_through_that_is_on_a_list(tmp_path: Path) -> None:
    """A list takes precedence over the control group."""
    decision = json.loads((BUNDLES / "refund" / MANIFEST).read_text())["decision"]
    policy = decision["policy"]
    low = {
        "policy": policy,
        "threshold": 1e-9,
        "block": {"policy": policy, "threshold": 2e-9},
        "control": {"share": 0.5},
    }
    write_variant(BUNDLES / "refund", tmp_path / "all", decision=low)
    client = client_of(
        load_scorer(tmp_path / "all"), entry("block", "a-17"), recorder=Recorder(str(tmp_path / "log"), key=KEY)
    )
    batch = [REQUEST | {"accountId": "a-17", "refund_id": f"r{number}"} for number in range(40)]
    assert {answer["band"] for answer in client.post(f"{ROUTE}/batch", json=batch).json()} == {"block"}
    assert all("control" not in line for line in record_lines(tmp_path / "log"))


def test_a_what_if_is_not_told_where_a_list_decides(tmp_path: Path) -> None:
    """No other amount would have led to another band."""
    contract = json.loads((BUNDLES / "refund" / MANIFEST).read_text())["contract"]
    contract["fields"]["amount"]["changeable"] = True
    write_variant(BUNDLES / "refund", tmp_path / "changing", contract=contract)
    client = client_of(load_scorer(tmp_path / "changing"), entry("review", "a-17"))
    assert "whatif" not in client.post(f"{ROUTE}?whatif=true", json=REQUEST | {"accountId": "a-17"}).json()
    assert "whatif" in client.post(f"{ROUTE}?whatif=true", json=REQUEST).json()


@pytest.fixture
def lists(deployment: Deployment) -> ListStore:
    """The lists of a deployment's store."""
    deployment.watcher.use_key(KEY)
    return ListStore(deployment.writer, "refund", KEY)


def test_lists_are_swapped_like_a_bundle(
    deployment: Deployment, lists: ListStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Lists are swapped in, replaced, and kept when a new model is promoted; unchanged ones are not read again."""
    lists.write(lambda _: [entry("block", "a-17")], "a first one")
    deployment.look(2)
    first = deployment.slot.served.lists
    assert first
    assert len([key for key in deployment.store.keys if "/lists/" in key]) == 1
    version = deployment.promote(shift=0.5)
    deployment.look()
    served = deployment.slot.served
    assert (served.scorer.version, served.lists and served.lists.version) == (version, first.version)
    health = TestClient(create_app({"refund": deployment.slot}, watcher=deployment.watcher)).get("/health").json()
    assert health["scorers"]["refund"]["lists"] == first.version
    lists.write(lambda before: [*before, entry("allow", "a-18")], "another")
    deployment.look()
    assert deployment.slot.served.lists
    assert deployment.slot.served.lists.version != first.version
    assert any("now serving with lists" in message and "(2 entries)" in message for message in caplog.messages)


def test_expired_entries_are_left_out_of_the_next_version(lists: ListStore) -> None:
    """Otherwise lists would only grow."""
    _, n_entries = lists.write(lambda _: [entry("block", "a-17", expires=1.0), entry("block", "a-18")], "two")
    assert n_entries == 1


def written(deployment: Deployment, content: bytes, version: str) -> None:
    """Put a file of lists into the store as it is, and have the pointer name it."""
    path = deployment.writer.root / lists_key("refund", version)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    deployment.point(lists=version)
    deployment.look()


def envelope_of(deployment: Deployment) -> tuple[str, dict[str, Any]]:
    """The version and the file of the lists that the pointer names."""
    served = deployment.slot.served.lists
    assert served
    return served.version, json.loads((deployment.writer.root / lists_key("refund", served.version)).read_bytes())


def test_damaged_lists_are_refused_and_the_former_stay(deployment: Deployment, lists: ListStore) -> None:
    """The file was changed or cut off, or belongs to another scorer or another key."""
    lists.write(lambda _: [entry("block", "a-17")], "sound")
    deployment.look()
    version, sound = envelope_of(deployment)
    content = json.loads(sound["lists"])
    content["entries"][0]["list"] = "allow"
    for damaged, message in (
        (json.dumps(sound | {"lists": json.dumps(content)}).encode(), "was changed: its content has version"),
        (json.dumps(sound).encode()[:-9], "is not a file of lists"),
        (b"[]", "is not a file of lists"),
    ):
        written(deployment, damaged, "0123456789ab")
        assert message in deployment.watcher.refused["refund"]
        assert deployment.slot.served.lists
        assert deployment.slot.served.lists.version == version
    for change, message in (
        ({"scorer": "transaction"}, "has the lists of transaction; it must have those of refund"),
        ({"fingerprint": key_fingerprint(OTHER_KEY)}, "its values were hashed with another PREDICTIONS_KEY"),
        ({"entries": [content["entries"][0] | {"value": "a-17"}]}, "entries.0.value: String should match pattern"),
        ({"entries": [content["entries"][0] | {"list": "maybe"}]}, "entries.0.list: Input should be"),
        ({"format": 2}, "format: Input should be 1"),
    ):
        text = json.dumps(content | change)
        with pytest.raises(ListsError, match=message):
            parse_lists(store_json({"lists": text, "signatures": {}}), "a file", "refund", lists_version(text), (), KEY)
    text = json.dumps(content)
    with pytest.raises(ListsError, match="PREDICTIONS_KEY is empty; set it to the key that hashed them"):
        parse_lists(store_json({"lists": text, "signatures": {}}), "a file", "refund", lists_version(text), (), b"")


def signing_key(path: Path) -> tuple[Path, bytes]:
    """A file with a new key, and the raw public one."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path, key.public_key().public_bytes_raw()


def test_a_running_function_takes_no_older_lists(deployment: Deployment, lists: ListStore) -> None:
    """Otherwise whoever can write to the store could bring back entries that were removed."""
    lists.write(lambda _: [entry("allow", "a-17")], "first")
    deployment.look()
    first = deployment.slot.served.lists
    lists.write(lambda _: [entry("block", "a-17")], "second")
    deployment.look()
    second = deployment.slot.served.lists
    assert first
    assert second
    deployment.point(lists=first.version)
    deployment.look()
    assert deployment.slot.served.lists is second
    assert "are older than" in deployment.watcher.refused["refund"]


def test_what_is_signed_was_signed_before(deployment: Deployment, tmp_path: Path) -> None:
    """An analyst cannot sign entries that somebody else added without a trusted signature, only replace all of them."""
    path, public = signing_key(tmp_path / "own.pem")
    own = ListStore(deployment.writer, "refund", KEY, (public,))
    own.write(lambda _: [entry("block", "a-17")], "signed", str(path))
    ListStore(deployment.writer, "refund", KEY).write(lambda _: [entry("allow", "a-17")], "forged")
    with pytest.raises(
        StageError, match=r"is not signed by a trusted key; .* REPLACE=yes with FILE replaces all entries"
    ):
        own.write(lambda before: [*before, entry("block", "a-99")], "another", str(path))
    pointer, _ = own.replace([entry("block", "a-17")], "from the table", str(path))
    assert own.read()[0] == pointer.lists


def test_the_last_entry_can_be_removed_and_lists_must_fit(
    lists: ListStore, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without entries the pointer names none; too many are refused before anything is written."""
    lists.write(lambda _: [entry("block", "a-17")], "one")
    deployment.look()
    pointer, n_entries = lists.write(lambda _: [], "none")
    deployment.look()
    assert (pointer.lists, n_entries, deployment.slot.served.lists) == (None, 0, None)
    monkeypatch.setattr("training.delivery.lists_writer.MAX_LISTS_BYTES", 1_000)
    with pytest.raises(StageError, match=r"20 entries take .* but functions read lists of at most 1,000"):
        lists.write(lambda _: [entry("block", f"a-{number}") for number in range(20)], "many")
    assert lists.read() == (None, ())


def test_a_shadow_stays_while_lists_change(deployment: Deployment, lists: ListStore) -> None:
    """It is not loaded again, and keeps its strikes."""
    deployment.point(shadow=deployment.release(shift=0.5))
    deployment.look()
    shadow = deployment.slot.served.shadow
    lists.write(lambda _: [entry("block", "a-17")], "one")
    deployment.look()
    assert deployment.slot.served.shadow is shadow is not None


def test_with_public_keys_unsigned_lists_are_refused(deployment: Deployment, lists: ListStore, tmp_path: Path) -> None:
    """So are those signed with another key; those signed with a trusted key serve."""
    (path, public), (other, _) = signing_key(tmp_path / "own.pem"), signing_key(tmp_path / "other.pem")
    deployment.watcher._public_keys = (public,)  # noqa: SLF001 - as the application sets them
    for key, is_served in (("", False), (str(other), False), (str(path), True)):
        lists.replace([entry("block", f"a-{key}")], "another", key)
        deployment.look()
        assert (deployment.slot.served.lists is not None) == is_served
        assert ("not signed by a trusted key" in deployment.watcher.refused.get("refund", "")) != is_served


def test_a_swap_under_load_never_mixes_two_versions(deployment: Deployment, lists: ListStore) -> None:
    """One version decides each batch: every swap exchanges the lists of two values, which are never on the same one."""
    versions = [
        [entry("block", "a-17"), entry("allow", "a-18")],
        [entry("allow", "a-17"), entry("block", "a-18")],
    ]
    lists.write(lambda _: versions[0], "begin")
    deployment.look()
    client = TestClient(create_app({"refund": deployment.slot}))
    batch = [REQUEST | {"accountId": account} for account in ("a-17", "a-18") * 10]
    stop, seen, wrong = threading.Event(), set[str](), list[Any]()

    def ask() -> None:
        while not stop.is_set():
            answer = client.post(f"{ROUTE}/batch", json=batch)
            names = [item.get("list", {}).get("name") for item in answer.json()] if answer.status_code == 200 else []
            if names not in (["block", "allow"] * 10, ["allow", "block"] * 10):
                wrong.append((answer.status_code, names))
            else:
                seen.add(names[0])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(40):
        lists.write(lambda _, number=number: versions[(number + 1) % 2], f"swap {number}")
        deployment.look()
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert seen == {"block", "allow"}
