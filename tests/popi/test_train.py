"""`train_popi` from user data to two adapters."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from models.tiny import WORDS

from personakit.config.loading import load
from personakit.config.schema import walk
from personakit.config.train_popi import TrainPOPI
from personakit.data.preferences import write_users
from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.popi.train import check_plan, train_popi
from personakit.records import PreferencePair, PreferenceUser, Signals
from personakit.training.progress import SilentProgress
from personakit.training.run import Run
from personakit.training.training_digests import read_trained_on, training_digest

SETTINGS = [
    *("max_length=96", "data.signal_tokens=60", "data.held_out=2", "lora.r=4"),
    *("warm_start.max_steps=3", "warm_start.per_device_train_batch_size=4", "warm_start.learning_rate=0.01"),
    *("warm_start.summaries=template", "controls.population_dpo=false", "controls.raw_dpo=false"),
    *(
        "joint.max_steps=2",
        "joint.per_device_train_batch_size=4",
        "joint.max_summary_tokens=6",
        "joint.num_summaries=2",
        "joint.num_pairs=2",
    ),
]


def people(count: int, *, long: bool = False) -> list[PreferenceUser]:
    made = []
    for number in range(count):
        name, taste = f"user-{number}", WORDS[10 + number]

        def pair(request: str, name: str = name, taste: str = taste) -> PreferencePair:
            return PreferencePair(name, request, f"{taste} {request}", f"the {request}")

        signals = Signals(
            tuple(pair(f"{WORDS[30 + at]} {WORDS[number]}") for at in range(2)), (f"on {taste}",)
        )
        held_out = [pair(f"{WORDS[40 + at]} {WORDS[number]}") for at in range(3)]
        if long:
            held_out.append(pair("cat " * 80))
        made.append(PreferenceUser(name, signals, tuple(held_out)))
    return made


def data_of(folder: Path, users: list[PreferenceUser]) -> Path:
    (folder / "preferences").mkdir(parents=True)
    write_users(folder / "preferences" / "train.jsonl", users)
    return folder


def test_it_trains_two_adapters_from_signals_and_counts_skipped_data(
    tiny_folder: Path, tmp_path: Path
) -> None:
    data = data_of(tmp_path / "data", people(10, long=True))
    config = load(TrainPOPI, None, [f"model={tiny_folder}", f"data.path={data}", *SETTINGS])
    with Run.create(tmp_path / "run", "popi", asdict(config), config.seed) as run:
        made = train_popi(config, run, SilentProgress())
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert list(facts["stages"]) == ["warm-inference", "warm-generator", "joint"]
    assert facts["stages"]["warm-inference"]["examples"] == 8  # two are held out
    assert facts["stages"]["warm-generator"]["examples"] == 24
    assert facts["users"] == {"users": 10, "pairs: longer than max_length": 10, "pairs": 30}
    assert facts["template_summaries_empty"] == 0
    pairs = [pair for person in people(10, long=True) for pair in person.pairs]
    assert read_trained_on(tmp_path / "run") == {
        training_digest(pair.prompt, pair.chosen, pair.user_id) for pair in pairs
    }
    assert made.model == tmp_path / "run" / "model"
    assert LocalModel.load(str(made.model / "inference")).generate(["the"], max_new_tokens=3)
    with Run.create(tmp_path / "run", "popi", asdict(config), config.seed, resume=True) as run:
        assert train_popi(config, run, SilentProgress()) == made
    (data / "preferences" / "train.jsonl").unlink()
    write_users(data / "preferences" / "train.jsonl", people(9))
    with (
        Run.create(tmp_path / "run", "popi", asdict(config), config.seed, resume=True) as run,
        pytest.raises(UserError) as told,
    ):
        train_popi(config, run, SilentProgress())
    assert "has changed since" in told.value.message


def test_controls_are_trained_on_the_same_users_and_tokens(tiny_folder: Path, tmp_path: Path) -> None:
    told = [replace(person, persona=f"likes {person.user_id}") for person in people(10)]
    data = data_of(tmp_path / "data", told)
    controls = [
        f"controls.{name}=true"
        for name in ("population_dpo", "raw_dpo", "frozen_generator", "oracle_generator")
    ]
    config = load(TrainPOPI, None, [f"model={tiny_folder}", f"data.path={data}", *SETTINGS, *controls])
    with Run.create(tmp_path / "run", "popi", asdict(config), config.seed) as run:
        train_popi(config, run, SilentProgress())
    stages = json.loads((tmp_path / "run" / "run.json").read_text())["stages"]
    joint, frozen = stages["joint"], stages["frozen-generator"]
    assert frozen["steps"] == joint["steps"]
    for name in ("population-dpo", "raw-dpo", "oracle-generator"):
        assert stages[name]["examples"] == stages["warm-generator"]["examples"]
        assert stages[name]["tokens"] >= joint["tokens"] > stages[name]["tokens"] / 2
    assert stages["population-dpo"]["reference"] != stages["oracle-generator"]["reference"]
    folder = tmp_path / "run" / "controls"
    for place in ("population_dpo", "raw_dpo", "oracle_generator", "frozen_generator/inference"):
        assert (folder / place / "adapter_config.json").is_file()
    # The frozen generator's adapter still has no effect.
    plain, untouched = (
        LocalModel.load(str(place)) for place in (tiny_folder, folder / "frozen_generator" / "generator")
    )
    assert untouched.score(["the"], ["cat"]) == plain.score(["the"], ["cat"])


def test_controls_keep_their_best_weights_where_the_method_does(tiny_folder: Path, tmp_path: Path) -> None:
    data = data_of(tmp_path / "data", people(10))
    select = ["joint.metric_for_best_model=eval_reward", "joint.save_steps=1", "controls.raw_dpo=true"]
    config = load(TrainPOPI, None, [f"model={tiny_folder}", f"data.path={data}", *SETTINGS, *select])
    with Run.create(tmp_path / "run", "popi", asdict(config), config.seed) as run:
        train_popi(config, run, SilentProgress())
    control = json.loads((tmp_path / "run" / "run.json").read_text())["stages"]["raw-dpo"]
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    losses = [
        (line["eval_loss"], line["step"])
        for line in lines
        if line["stage"] == "raw-dpo" and "eval_loss" in line
    ]
    assert (control["best_value"], control["best_step"]) == min(losses)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.signal_tokens=95", "data.signal_tokens is 95, expected at most 90 (max_length 96 minus"),
        ("joint.generator_summaries=3", "generator_summaries is 3, expected 1 to 2"),
        ("joint.base_share=0.5", "base_share is 0.5 and reference is generator"),
        ("warm_start.enabled=false", "joint.reference is generator, but there is no warm-started generator"),
    ],
)
def test_conflicting_settings_are_rejected_before_a_model_is_loaded(override: str, said: str) -> None:
    config = load(TrainPOPI, None, [*SETTINGS, "joint.reference=generator", override])
    with pytest.raises(UserError) as told:
        check_plan(config)
    assert said in told.value.message


def test_settings_state_the_provenance_of_their_defaults() -> None:
    known = {each.key: each for each in walk(TrainPOPI)}
    assert "PLUS" in known["joint.kl_coef"].provenance
    assert "AlignXplore" in known["joint.num_summaries"].provenance
    assert known["joint.learning_rate"].provenance == "our choice"
    check_plan(load(TrainPOPI))
