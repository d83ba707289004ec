"""Preference files of every format become users with signals, held-out pairs and a split."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personakit.data.check import check_data
from personakit.data.folders import split_by_prompt
from personakit.data.imports import ImportReport, detect_format, import_data
from personakit.data.lamp_mini.preferences import HELD_OUT
from personakit.data.near_duplicates import normalized
from personakit.data.preferences import (
    PreferenceReport,
    PreferenceStore,
    import_preferences,
    open_preferences,
    write_users,
)
from personakit.data.preferences.rows import AMONG_SIGNALS, IS_AN_ANSWER, REPEATED, PairTexts
from personakit.data.preferences.signal_split import PairKey, cluster, pair_key, split_signals
from personakit.data.splitting import SPLITS, SplitPlan
from personakit.errors import UserError
from personakit.records import PreferencePair, PreferenceUser, ProfileItem, Signals
from tests.data import preference_rows as made


def imported(tmp_path: Path, rows: made.Rows, name: str = "p.jsonl", **options: object) -> PreferenceReport:
    report: ImportReport = import_data(made.write(tmp_path / name, rows), tmp_path / "out", **options)  # type: ignore[arg-type]
    assert report.preferences is not None
    return report.preferences


def opened(tmp_path: Path, report: PreferenceReport) -> dict[str, PreferenceStore]:
    return {split: open_preferences(tmp_path / "out", split) for split in report.splits}


def texts(pairs: tuple[PreferencePair, ...]) -> set[str]:
    return {normalized(text) for each in pairs for text in (each.prompt, each.chosen, each.rejected)}


def assert_sound(report: PreferenceReport, stores: dict[str, PreferenceStore]) -> None:
    """What holds of every import: nothing on two sides, nothing lost in silence."""
    pairs = {reason: skip.count for reason, skip in report.skipped.items() if "pairs" in reason}
    assert report.kept + sum(pairs.values()) == report.pairs
    seen: dict[str, str] = {}
    for split, store in stores.items():
        assert store.skipped == {}
        assert len(store) == report.splits[split].users
        for user in store:
            assert seen.setdefault(user.user_id, split) == split
            assert user.pairs
            assert not user.signals.empty
            assert not texts(user.signals.pairs) & texts(user.pairs)


FORMATS = {
    "alignx": made.alignx_rows,
    "fspo": made.roleplay_rows,
    "synthesizeme": made.prism_rows,
    "trl": made.trl_rows,
    "preferences": made.native_rows,
}


@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.parquet"])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_detected_by_its_content_and_read(format: str, name: str, tmp_path: Path) -> None:
    rows = FORMATS[format]()
    report = imported(tmp_path, rows, name)
    assert (report.format, report.rows, report.skipped) == (format, len(rows), {})
    assert set(report.splits) == set(SPLITS)
    assert report.kept == report.pairs
    stores = opened(tmp_path, report)
    assert_sound(report, stores)
    kept = sum(len(user.pairs) + len(user.signals.pairs) for store in stores.values() for user in store)
    assert kept == report.kept


def test_flat_formats_may_be_csv(tmp_path: Path) -> None:
    report = imported(tmp_path, made.roleplay_rows(), "p.csv")
    assert (report.format, report.kept) == ("fspo", 125)


def test_alignx_signals_of_every_kind_are_read(tmp_path: Path) -> None:
    stores = opened(tmp_path, imported(tmp_path, made.alignx_rows()))
    for user in (user for store in stores.values() for user in store):
        number = user.pairs[0].prompt.removeprefix("asked target ")
        assert user.signals.about == (f"a person of kind {number}",)
        (item,) = user.signals.items
        assert item.fields == {"post": f"post {number}", "comment": f"remark {number}"}
        assert [each.chosen for each in user.signals.pairs] == [
            f"liked signal {number} {k}" for k in range(4)
        ]
        assert user.persona is None


def test_alignx_rows_with_equal_signals_are_one_user_and_a_prompt_is_in_one_split(tmp_path: Path) -> None:
    rows = made.alignx_rows(40)
    again = [{**row, **made.pair(f"more {n}")} for n, row in enumerate(rows)]
    for n in range(0, 40, 4):  # ten prompts, each asked of four users
        for row in rows[n : n + 4]:
            row["prompt"] = f"shared {n}"
    report = imported(tmp_path, rows + again)
    stores = opened(tmp_path, report)
    assert sum(len(store) for store in stores.values()) == 40
    assert {len(user.pairs) for store in stores.values() for user in store} == {2}
    assert report.skipped[REPEATED].count == 40 * 4
    prompts = [{pair.prompt for user in store for pair in user.pairs} for store in stores.values()]
    assert not prompts[0] & prompts[1]
    assert not prompts[0] & prompts[2]
    assert not prompts[1] & prompts[2]


def test_a_file_of_personas_is_split_by_text(tmp_path: Path) -> None:
    rows = made.p_soups_rows()
    # One target that is a signal too, and one that shares its answer with a signal.
    rows[0].update(made.pair("signal 0 1"))
    rows[1]["chosen"] = "Liked signal 1 2!"
    report = imported(tmp_path, rows, "p.json")
    assert (report.format, report.split_by, report.rows, report.pairs) == ("alignx", "prompt", 240, 1200)
    assert report.skipped[AMONG_SIGNALS].count == 2
    stores = opened(tmp_path, report)
    assert_sound(report, stores)
    users = {split: list(store) for split, store in stores.items()}
    held = {split: {text for user in all for text in texts(user.pairs)} for split, all in users.items()}
    told = {split: {text for u in all for text in texts(u.signals.pairs)} for split, all in users.items()}
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not held[one] & held[other]
        assert not told[one] & told[other]
    assert not set.union(*held.values()) & set.union(*told.values())
    everybody = [user for all in users.values() for user in all]
    pairs = [pair for user in everybody for pair in user.pairs]
    # Every distinct target once, and all of a prompt at one user of its persona.
    assert len(pairs) == len({(each.chosen, each.prompt) for each in pairs}) == 80
    for user in everybody:
        assert len({pair.prompt for pair in user.pairs}) == 1
        assert 1 <= len(user.signals.pairs) <= 4
        assert user.persona is not None
        persona = user.persona.removeprefix("Answer as persona ")[0]
        assert {pair.chosen.split()[2] for pair in (*user.pairs, *user.signals.pairs)} == {persona}


def test_fspo_labels_give_the_preferred_answer(tmp_path: Path) -> None:
    report = imported(tmp_path, made.elix_rows())
    assert report.split_by == "prompt"
    assert split_by_prompt(tmp_path / "out")  # what an evaluation calls its users
    stores = opened(tmp_path, report)
    assert_sound(report, stores)
    personas = set()
    for user in (user for store in stores.values() for user in store):
        wanted = "easy" if user.user_id.startswith("child/") else "hard"
        assert all(pair.chosen.startswith(wanted) for pair in (*user.pairs, *user.signals.pairs))
        personas.add(user.persona)
    assert personas == {"The user is child.", "The user is expert."}


def test_many_fspo_levels_are_users_and_review_levels_are_described(tmp_path: Path) -> None:
    levels = ("positive", "negative+concise", *(f"expert of {n}" for n in range(20)))
    report = imported(tmp_path, made.elix_rows(levels, 4))
    assert report.split_by == "user"
    assert not split_by_prompt(tmp_path / "out")
    stores = opened(tmp_path, report)
    assert_sound(report, stores)
    personas = {user.user_id: user.persona for store in stores.values() for user in store}
    assert len(personas) == 22
    assert personas["negative+concise"] == "This user prefers negative and concise reviews."
    assert personas["expert of 3"] == "The user is expert of 3."


def test_conversations_become_prompts(tmp_path: Path) -> None:
    stores = opened(tmp_path, imported(tmp_path, made.prism_rows()))
    pair = stores["train"][0].pairs[0]
    number = pair.chosen.removeprefix("yes ")
    assert pair.prompt == f"user: hello {number}\nassistant: hi\nuser: tell me {number}"
    assert pair.rejected == f"no {number}"


def test_trl_prompts_may_be_implicit_or_conversational(tmp_path: Path) -> None:
    def message(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    rows: made.Rows = [
        {
            "user": "b",
            "chosen": [message("user", f"sky {n}?"), message("assistant", f"blue {n}")],
            "rejected": [message("user", f"sky {n}?"), message("assistant", f"black {n}")],
        }
        for n in range(4)
    ]
    report = imported(tmp_path, rows)
    users = {user.user_id: user for store in opened(tmp_path, report).values() for user in store}
    assert set(users) == {"b"}
    pair = users["b"].pairs[0]
    assert (pair.prompt[:3], pair.chosen[:4], pair.rejected[:5]) == ("sky", "blue", "black")


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    rows = [
        {
            "who": each["user"],
            "question": each["prompt"],
            "chosen": each["chosen"],
            "rejected": each["rejected"],
        }
        for each in made.trl_rows()
    ]
    report = imported(tmp_path, rows, columns={"prompt": "question", "user_id": "who"})
    assert report.kept == 50


@pytest.mark.parametrize("rows", [made.p_soups_rows(), made.prism_rows()])
def test_folds_test_every_pair_once(rows: made.Rows, tmp_path: Path) -> None:
    source = made.write(tmp_path / "pairs.jsonl", rows)
    tested: Counter[str] = Counter()
    every: set[str] = set()
    for part in (1, 2, 3):
        folder = tmp_path / f"fold{part}"
        import_data(source, folder, plan=SplitPlan(fold=(part, 3)))
        pairs = {
            split: {pair.chosen for user in open_preferences(folder, split) for pair in user.pairs}
            for split in SPLITS
        }
        assert not pairs["test"] & (pairs["train"] | pairs["dev"])
        tested.update(pairs["test"])
        every |= set.union(*pairs.values())
    assert set(tested) == every
    assert set(tested.values()) == {1}


def test_an_import_is_the_same_for_the_same_seed_only(tmp_path: Path) -> None:
    source = made.write(tmp_path / "p.jsonl", made.trl_rows(40))
    prints = [
        import_data(source, tmp_path / f"out{n}", plan=SplitPlan(seed)).fingerprint
        for n, seed in enumerate((1, 1, 2))
    ]
    assert prints[0] == prints[1] != prints[2]
    about = json.loads((tmp_path / "out0" / "dataset.json").read_text())
    assert about["preferences"]["pairs"] == about["preferences"]["kept"] == 200
    assert about["made_from"]["format"] == "trl"


def test_detection_leaves_the_other_formats_alone(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_text('{"text": "a", "score": 3}\n')
    (tmp_path / "w.csv").write_text("user_id,original,revised\nu,a,b\n")
    (tmp_path / "r.json").write_text('[{"id": "u", "profile": []}]')
    found = [detect_format(tmp_path / name) for name in ("h.jsonl", "w.csv", "r.json")]
    assert found == ["history", "rewriting", "reviews"]


LETTERS = st.sampled_from("abcdef")
PAIRS = st.lists(st.tuples(LETTERS, LETTERS, LETTERS), max_size=12)


@given(PAIRS, st.integers(0, 5))
def test_signals_and_held_out_pairs_share_no_text(pairs: list[tuple[str, str, str]], seed: int) -> None:
    keys = [pair_key(PairTexts(f"asked {p}", f"said {c}", f"said {r}")) for p, c, r in pairs]
    signals, held = split_signals(keys, random.Random(seed))
    assert not {t for n in signals for t in keys[n]} & {t for n in held for t in keys[n]}
    clusters = len(set(cluster(keys)))
    assert (bool(signals), bool(held)) == (clusters > 1, clusters > 1)
    assert sorted(signals + held) == (list(range(len(keys))) if clusters > 1 else [])


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("uvwxyz"), LETTERS, LETTERS, LETTERS), min_size=1, max_size=40),
    seed=st.integers(0, 3),
)
def test_every_row_is_kept_or_counted(
    rows: list[tuple[str, str, str, str]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    source = made.write(
        folder / "p.jsonl",
        [
            {"user": u, "prompt": f"asked {p}", "chosen": f"said {c}", "rejected": f"said {r}"}
            for u, p, c, r in rows
        ],
    )
    keys: dict[str, list[PairKey]] = {}
    for u, *texts in rows:
        if texts[1] != texts[2]:
            keys.setdefault(u, []).append(
                pair_key(PairTexts(f"asked {texts[0]}", *(f"said {t}" for t in texts[1:])))
            )
    if all(len(set(cluster(each))) < 2 for each in keys.values()):
        with pytest.raises(UserError, match="is usable"):
            import_preferences(source, folder / "out", format="trl", seed=seed)
        return
    report = import_preferences(source, folder / "out", format="trl", seed=seed)
    stores = {split: open_preferences(folder / "out", split) for split in report.splits}
    assert_sound(report, stores)
    kept = sum(len(user.pairs) + len(user.signals.pairs) for store in stores.values() for user in store)
    assert (report.kept, report.pairs) == (kept, len(rows))


# ------------------------------------------------------------------------------------------ the store


def user(name: str, count: int = 2) -> PreferenceUser:
    def pairs(kind: str) -> tuple[PreferencePair, ...]:
        return tuple(PreferencePair(name, *made.pair(f"{kind} {name} {n}").values()) for n in range(count))

    signals = Signals(
        pairs("signal"),
        (f"comment {name} {{}}",),
        (f"about {name}",),
        (ProfileItem("1", {"title": "t", "text": f"x {name}"}, f"x {name}", "2020"),),
    )
    return PreferenceUser(name, signals, pairs("held"), "a persona")


def test_written_users_round_trip(tmp_path: Path) -> None:
    users = [user("anna"), user("b\u00e9rt")]
    write_users(tmp_path / "preferences" / "dev.jsonl", users)
    store = open_preferences(tmp_path, "dev")
    assert list(store) == users
    assert store[-1] == users[1]
    assert store[:1][0] == users[0]
    assert (store.user_ids, store.pair_counts, store.task) == (["anna", "b\u00e9rt"], [2, 2], None)
    with pytest.raises(IndexError):
        store[2]


def test_fingerprints_depend_on_content_and_selection(tmp_path: Path) -> None:
    def store(folder: str, *users: PreferenceUser) -> PreferenceStore:
        write_users(tmp_path / folder / "preferences" / "dev.jsonl", users)
        return open_preferences(tmp_path / folder, "dev")

    first, same, other = (
        store("a", user("x"), user("y")),
        store("b", user("x"), user("y")),
        store("c", user("x"), user("z")),
    )
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert first.subset(1).fingerprint == same[:1].fingerprint != first.fingerprint
    assert first.subset([1]).fingerprint != first.subset([0]).fingerprint
    assert first.subset([1]).user_ids == ["y"]


def test_the_built_in_preferences_open(
    benchmark_preferences: tuple[Path, int],
) -> None:
    folder, users = benchmark_preferences
    store = open_preferences(folder, "dev")
    assert store.task == "LaMP_7"
    assert len(store) == users
    left_out = sum(skip.count for skip in store.skipped.values())
    assert sum(store.pair_counts) == HELD_OUT * users - left_out
    one = store[0]
    assert (len(one.signals.pairs), len(one.signals.comments), len(one.signals.about)) == (6, 1, 1)
    assert one.persona is not None


@pytest.fixture
def benchmark_preferences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, int]:
    """A lamp-mini of a few users."""
    from personakit.data.lamp_mini import generate

    monkeypatch.setattr(generate, "USERS", {"dev": 12})
    monkeypatch.setattr(generate, "INSTRUCTIONS", {})
    generate.write_benchmark(tmp_path / "mini")
    return tmp_path / "mini", 12


def test_unusable_data_in_an_opened_file_is_skipped_and_counted(tmp_path: Path) -> None:
    rows = made.native_rows(3)
    rows[0]["pairs"][0] = made.pair("signal 0 1")
    rows[0]["signals"]["comment"] = "Liked held 0 1."
    rows[1]["signals"]["pairs"][2]["rejected"] = rows[1]["signals"]["pairs"][2]["chosen"]
    rows[2]["pairs"] = []
    (tmp_path / "preferences").mkdir()
    path = made.write(tmp_path / "preferences" / "dev.jsonl", rows)
    store = open_preferences(tmp_path, "dev")
    assert store.user_ids == ["user0", "user1"]
    assert {reason: (skip.count, skip.first) for reason, skip in store.skipped.items()} == {
        AMONG_SIGNALS: (1, f"{path}, line 1"),
        IS_AN_ANSWER: (1, f"{path}, line 1"),
        "pairs whose chosen answer equals the rejected one": (1, f"{path}, line 2"),
        "signal pairs of users without held-out pairs": (3, f"{path}, line 3"),
    }
    first = store[0]
    assert [pair.chosen for pair in first.pairs] == ["liked held 0 1"]
    assert first.signals.comments == ()
    report = check_data(tmp_path)
    assert report.splits == []
    (check,) = report.preferences
    assert (check.users, check.pairs, check.signal_pairs, check.comments, check.items) == (2, 3, 5, 1, 2)
    assert len(report.warnings) == 4
    assert f"(first: {path}, line 3)" in report.warnings[3]


def test_a_check_reports_overlap_between_splits(tmp_path: Path) -> None:
    for split, users in (("train", ["a", "b"]), ("dev", ["b"])):
        write_users(tmp_path / "preferences" / f"{split}.jsonl", map(user, users))
    assert check_data(tmp_path).warnings == [
        "preferences: 1 user of dev that is also in train",
        "preferences: 2 held-out pairs of dev that are also in train",
        "preferences: 2 held-out prompts of dev that are also in train",
    ]
