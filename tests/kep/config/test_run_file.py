"""The run file's mistakes, each as a sentence that a person can act on, all of them at once."""

import pytest
import yaml

from kep.config.run_file import load, renamed, validate
from kep.core.errors import UserError
from kep.core.location import Location

GOOD = {"name": "demo", "data": {"source": "sklearn:digits"}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"searhc": {}}, 'searhc: unknown key "searhc"; did you mean "search"?'),
        ({"search": {"max_trial": 5}}, 'search.max_trial: unknown key "max_trial"; did you mean "max_trials"?'),
        ({"search": {"objective": {"nam": "x"}}}, 'search.objective.nam: unknown key "nam"; did you mean "name"?'),
        ({"data": {"source": "a.csv", "xyzzy": 1}}, 'data.xyzzy: unknown key "xyzzy"; the keys are source'),
        ({"search": {"max_trials": "many"}}, 'search.max_trials: expected a whole number, got "many"'),
        ({"search": {"max_trials": 2.5}}, "search.max_trials: expected a whole number, got 2.5"),
        ({"search": {"max_trials": 0}}, "search.max_trials: 0 must be at least 1"),
        (
            {"search": {"tuner": "bayesain"}},
            'search.tuner: "bayesain" is not one of bayesian, random, grid, hyperband, evolution, vizier; did you mean',
        ),
        ({"search": {"objective": {"direction": "up"}}}, 'search.objective.direction: "up" is not one of min, max'),
        ({"search": {"rounds": 3, "max_trials": 30}}, "search: max_trials (30) does not fit rounds (3)"),
        ({"search": {"rounds": 3, "max_minutes": 5}}, '"max_minutes" has no meaning with rounds'),
        ({"minutes": 0}, "minutes: 0 must be above 0"),
        ({"minutes": "two"}, 'minutes: expected a number, got "two"'),
        ({"minutes": 3, "search": {"rounds": 3}}, '"minutes" has no meaning with search.rounds; remove one'),
        ({"minutes": 3, "search": {"max_minutes": 2}}, '"minutes" has no meaning with search.max_minutes; remove one'),
        ({"minutes": 3, "search": {"from": "churn"}}, '"minutes" has no meaning with search.from; remove one'),
        ({"search": 5}, "search: expected a section with keys, got 5"),
        ({"search": {"families": []}}, "search.families: the list is empty; give at least 1"),
        ({"search": {"families": "mlp"}}, 'search.families: expected a list, such as [mlp], got "mlp"'),
        ({"seed": -1}, "seed: -1 must be at least 0"),
        ({"name": "My Run"}, 'name: "My Run" must be lower-case letters, digits and dashes'),
        ({"name": "champions"}, 'name: "champions" is the folder of the champions'),
        ({"name": "batch"}, 'name: "batch" is the folder of the batch predictions'),
        ({"name": None}, "name: expected text, got null"),
        ({"data": {}}, 'data: give exactly one of "source"'),
        ({"data": {"source": "a.csv", "split": {"by": "grup"}}}, 'data.split.by: "grup" is not one of random, group'),
        ({"data": {"source": "a.csv", "split": {"by": "group"}}}, 'data.split: by: group needs "column"'),
        ({"data": {"source": "a.csv", "split": {"column": "x"}}}, '"column" has no meaning with by: random'),
        ({"data": {"source": "a.csv", "split": {"validation": 0.6, "test": 0.5}}}, "leave no rows to train on"),
        ({"data": {"source": "a.csv", "split": {"test": 1.5}}}, "data.split.test: 1.5 must be below 1"),
        ({"data": {"source": "a.csv", "split": {"by": "files"}}}, '"files" and split.by: files belong together'),
        ({"data": {"source": "a.csv", "label": "y", "features": ["x", "y"]}}, '"features" holds the label "y"'),
        ({"data": {"source": "a.csv", "features": ["x"], "exclude": ["x"]}}, '"x" is in both "features" and "exclude"'),
        ({"data": {"source": "a.csv", "features": ["x", "x"]}}, '"features" names "x" more than once'),
        (
            {"data": {"source": "a", "extract_to": "s3://b"}},
            'data.extract_to: "s3://b" is not a folder on Cloud Storage',
        ),
        ({"data": {"source": "a.csv", "types": {"x": "number"}}}, 'data.types.x: "number" is not one of numeric'),
        ({"retrain": {"enabled": "maybe"}}, 'retrain.enabled: expected true or false, got "maybe"'),
        ({"promote": {"better_by": -0.1}}, "promote.better_by: -0.1 must be at least 0"),
        (
            {"promote": {"better_by": 0.1, "not_worse_than": 0.1}},
            "promote: better_by and not_worse_than are two rules for one comparison; give one of them",
        ),
        ({"promote": {"metric": "roc"}}, 'promote.metric: "roc" is not one of'),
        ({"promote": {"require": {"roc_acu": 0.7}}}, 'unknown key "roc_acu"; did you mean "roc_auc"?'),
        ({"promote": {"require": {"roc_auc": 70}}}, "promote.require.roc_auc: 70 must be at most 1"),
        ({"promote": {"require": {"loss": -1}}}, "promote.require.loss: -1 must be at least 0"),
        ({"promote": {"require": {"r2": 1.5}}}, "promote.require.r2: 1.5 must be at most 1"),
        (
            {"promote": {"require": {"slices": {"region": {"f1": 2}}}}, "evaluate": {"slices": ["region"]}},
            'promote.require: slices: "region" asks for a f1 of 2, which is between 0 and 1; change the bound',
        ),
        (
            {"promote": {"metric": "roc_auc", "not_worse_than": 5}},
            "promote.not_worse_than: roc_auc is between 0 and 1, and no two differ by 5; give a difference such as",
        ),
        (
            {"promote": {"better_by": 1}, "ensemble": {"metric": "pr_auc"}},
            "promote.better_by: pr_auc is between 0 and 1, and no two differ by 1; give a difference such as 0.005",
        ),
        ({"promote": {"require": {"beats": "champion"}}}, 'promote.require.beats: "champion" is not one of'),
        (
            {"promote": {"require": {"slices": {"region": {"loss": 1.0}}}}},
            'promote.require.slices: "region" is not evaluated; add it to evaluate.slices',
        ),
        ({"promote": {"when_incomparable": "drop"}}, 'promote.when_incomparable: "drop" is not one of keep, replace'),
        ({"evaluate": {"bootstrap": 10}}, "evaluate.bootstrap: 10 must be at least 100"),
        ({"evaluate": {"slices": "age"}}, 'evaluate.slices: expected a list, such as [age], got "age"'),
        ({"ensemble": {"method": "nelder-mead"}}, 'did you mean "nelder_mead"?'),
        ({"ensemble": {"calibration": "platt"}}, 'ensemble.calibration: "platt" is not one of auto, off, temperature'),
        *(
            ({"ensemble": {"operating_point": point}}, f"ensemble.operating_point{words}")
            for point, words in [
                ({}, ": nothing given; give one of threshold, cost, precision and recall"),
                ({"precision": 0.9, "recall": 0.9}, ": precision and recall given; give one of threshold, cost"),
                (0.3, ": expected a section with keys, got 0.3"),
                ({"threshold": 1.5}, ".threshold: 1.5 must be below 1"),
                ({"recall": 1.5}, ".recall: 1.5 must be at most 1"),
                ({"precison": 0.9}, '.precison: unknown key "precison"; did you mean "precision"?'),
                ({"cost": {"false_positive": 1.0}}, ".cost.false_negative: is missing"),
                ({"cost": {"false_positive": 0, "false_negative": 5}}, ".cost.false_positive: 0 must be above 0"),
            ]
        ),
        ({"hardware": {"retrain": {"threads": "all"}}}, 'hardware.retrain.threads: expected a whole number, got "all"'),
        (
            {"hardware": {"threads": 2}},
            'hardware.threads: unknown key "threads"; the keys are ingest, tune, best_epoch, weigh, retrain, evaluate',
        ),
        ({"hardware": {"tune": {"strategy": "mirrored"}}}, 'hardware.tune.strategy: unknown key "strategy"'),
        ({"hardware": {"retrain": {"strategy": "mirored"}}}, 'did you mean "mirrored"?'),
        ({"hardware": {"retrain": {"strategy": "central_storage"}}}, "central_storage is not offered: under Keras 3"),
        ({"hardware": {"retrain": {"strategy": "parameter_server"}}}, "parameter_server is not offered: Keras 3"),
        ({"hardware": {"retrain": {"strategy": "single", "devices": 2}}}, "devices: 2 has no meaning with strategy"),
        (
            {"hardware": {"retrain": {"strategy": "mirrored", "communication": "ring"}}},
            "communication: ring is for strategy: multi_worker",
        ),
        ({"hardware": {"retrain": {"scale_learning_rate": "linear"}}}, "scale_learning_rate follows batch_size"),
        *(
            ({"hardware": {"retrain": {"machine": machine}}}, f"hardware.retrain.machine{words}")
            for machine, words in [
                ({"accelerator": "nvidia-t4"}, '.accelerator: "nvidia-t4" is not one of nvidia-tesla-t4, nvidia-l4'),
                ({"cpus": 2}, '.cpus: unknown key "cpus"; did you mean "cpu"?'),
                ({"cpu": 97}, ".cpu: 97 must be at most 96"),
                ({"cpu": 0.5}, ".cpu: expected a whole number, got 0.5"),
                ({"accelerators": 2}, ': "accelerators" has no meaning without accelerator'),
                ({"topology": "2x4"}, ': "topology" has no meaning without accelerator'),
                ({"accelerator": "nvidia-l4", "topology": "2x4"}, ": topology is of a TPU's chips"),
                ({"accelerator": "tpu-v6e-slice"}, ": accelerator: tpu-v6e-slice needs its topology, such as 2x4"),
                (
                    {"accelerator": "tpu-v6e-slice", "topology": "2*4"},
                    ': topology: "2*4" is not a topology; give one such as',
                ),
                (
                    {"accelerator": "tpu-v6e-slice", "topology": "2x4", "accelerators": 4},
                    ": topology 2x4 is 8 chips, all of one task; remove accelerators",
                ),
                ({"volumes": {"data": "data"}}, ': "data" is not an absolute path in the task'),
                *(
                    ({key: {name: path}}, f': {key}: "{name}" is not a valid Kubernetes name; give at most 63 lower')
                    for key, path in (("volumes", "/x"), ("secrets", "/x"), ("secret_variables", {"k": "V"}))
                    for name in ("My_Claim", "my.claim", "x" * 64, "-a", "a-", "")
                ),
                *(
                    ({"volumes": {name: "/x"}}, f': volumes: Kubeflow has a volume "{name}" of its own')
                    for name in ("kfp-launcher", "gcs-scratch")
                ),
                *(
                    ({key: {"data": path}}, f': "{path}": Kubeflow mounts {taken} in each task')
                    for key in ("volumes", "secrets")
                    for path, taken in (("/gcs", "/gcs"), ("/gcs/b", "/gcs"), ("/minio/", "/minio"), ("/s3", "/s3"))
                ),
                *(
                    ({"volumes": {"data": path}}, f': "{path}" would hide ')
                    for path in (
                        "/",
                        "/tmp",
                        "/tmp/",
                        "/usr",
                        "/usr/local",
                        "/usr/bin",
                        "/app",
                        "/app/bin",
                        "/proc",
                        "/var",
                        "/var/run/x",
                    )
                ),
                ({"volumes": {"data": "/proc/self"}}, ': "/proc/self" is in /proc, which is the machine\'s'),
                *(
                    ({"volumes": {"data": path}}, f': "{path.encode("unicode_escape").decode()}" is not a valid mount')
                    for path in ("/a/../b", "/a/..", "/a:b", "//tmp", "/a//b", "/a/./b", "/a\n")
                ),
                ({"volumes": {"a": "/x", "b": "/x/"}}, ': "/x" is mounted more than once'),
                ({"volumes": {"a": "/x"}, "secrets": {"a": "/y"}}, ': "a" is in both volumes and secrets'),
                *(
                    ({"secret_variables": {"s": {"k": name}}}, f": secret_variables.s.k: a task needs {name} as it is")
                    for name in ("PATH", "TMPDIR", "HOME", "LD_LIBRARY_PATH", "KEP_WORK", "TF_CONFIG", "KFP_POD_NAME")
                ),
                (
                    {"secret_variables": {"s": {"k": "1BAD NAME"}}},
                    ': secret_variables.s.k: "1BAD NAME" is not a valid var',
                ),
                (
                    {"secret_variables": {"s": {"k y": "V"}}},
                    ': secret_variables.s: "k y" is not a valid key of a secret',
                ),
                (
                    {"secret_variables": {"s": {"k": "V", "l": "V"}}},
                    ": secret_variables.s.l: V is set more than once; give each its own variable",
                ),
                ({"node_selector": {"bad key!": "v"}}, ': node_selector: "bad key!" is not a valid label'),
                (
                    {"node_selector": {"k": "bad value!!"}},
                    ': node_selector.k: "bad value!!" is not a valid label value',
                ),
                (
                    {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
                    '.tolerations.0: operator: Exists takes no value, and "b" is given',
                ),
                ({"tolerations": [{"value": "b"}]}, ".tolerations.0: operator: Equal needs the key of the taint"),
                ({"tolerations": [{"key": "a b"}]}, '.tolerations.0: key: "a b" is not a valid label'),
                ({"tolerations": [{"efect": "NoSchedule"}]}, '.tolerations.0.efect: unknown key "efect"; did you mean'),
                ({"tolerations": [{"effect": "No"}]}, '.tolerations.0.effect: "No" is not one of NoSchedule'),
            ]
        ),
        ({"hardware": {"weigh": {"machine": {"accelerator": "nvidia-l4"}}}}, "hardware: weigh has no use for an accel"),
        ({"hardware": {"max_cost": 0}}, "hardware.max_cost: 0 must be above 0"),
        (
            {"data": {"source": "x", "label": ["a", "b"]}},
            "data.label: several labels are not supported: a run predicts",
        ),
        ({"data": {"source": "x", "labels": ["a", "b"]}}, "data.labels: several labels are not supported"),
        ({"data": {"source": "x", "targets": "a"}}, "data.targets: several labels are not supported"),
        ({"data": {"source": "x", "task": "multi-label"}}, "data.task: several labels are not supported"),
        (
            {"data": {"source": "x", "task": "quantile"}},
            "data.task: quantiles are not supported: a regression predicts",
        ),
        (
            {"data": {"source": "x", "task": "Survival"}},
            "data.task: survival models, which know censored rows, are not",
        ),
        ({"data": {"source": "x", "task": "ranking"}}, "data.task: ranking is not supported; predict a grade"),
        ({"search": {"quantiles": [0.1, 0.9]}}, "search.quantiles: quantiles are not supported"),
        ({"search": {"monotone_constraints": {"a": 1}}}, "search.monotone_constraints: monotone constraints are not"),
        ({"data": {"source": "x", "tasks": "auto"}}, 'data.tasks: unknown key "tasks"; did you mean "task"?'),
        (
            {"data": {"source": "x", "types": {"note": "txt"}}},
            'data.types.note: "txt" is not one of numeric, categorical',
        ),
    ],
)
def test_a_mistake_is_one_sentence(change, sentence):
    with pytest.raises(UserError) as error:
        validate(GOOD | change)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_an_override_is_of_one_section_of_several_that_an_alias_makes_one(tmp_path):
    path = tmp_path / "run.yaml"
    hardware = "hardware: {tune: &big {machine: {cpu: 8}}, retrain: *big}\n"
    path.write_text(yaml.safe_dump(GOOD) + hardware)
    machines = load(path, ["hardware.tune.machine.cpu=2"]).hardware.machines
    assert (machines["tune"].cpu, machines["retrain"].cpu) == (2, 8)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(UserError) as error:
        validate({"data": {"source": 5, "labl": "y"}, "sed": 1})
    assert str(error.value).splitlines() == [
        "name: is missing",
        "data.source: expected text, got 5",
        'data.labl: unknown key "labl"; did you mean "label"?',
        'sed: unknown key "sed"; did you mean "seed"?',
    ]


def test_on_and_no_are_words(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: demo\n"
        "data: {source: a.csv, label: yes, split: {by: column, column: no, roles: {test: [no, off]}}}\n"
        "hardware: {retrain: {jit: on}, tune: {jit: off}}\n"
        "retrain: {enabled: no}\n"
        "promote: {registry: True}\n"
    )
    run = load(path, ["hardware.best_epoch.jit=on"])
    assert (run.data.label, run.data.split.column, run.data.split.roles.test) == ("yes", "no", ["no", "off"])
    assert (run.hardware.retrain.jit, run.hardware.best_epoch.jit, run.hardware.tune.jit) == ("on", "on", "off")
    assert (run.retrain.enabled, run.promote.registry) == (False, True)


def test_overrides_reach_nested_settings(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    run = load(path, ["search.max_trials=3", "search.families=[mlp]", "data.split.test=0.3"])
    assert run.search.max_trials == 3
    assert run.search.families == ["mlp"]
    assert run.data.split.test == 0.3
    with pytest.raises(UserError, match="give key=value"):
        load(path, ["search.max_trials"])
    with pytest.raises(UserError, match='"name" is not a section'):
        load(path, ["name.first=x"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("name: [", "is not valid YAML in line"), ("- a", "must hold sections"), ("\xff", "can't be read")],
)
def test_files_that_are_no_run_file(tmp_path, text, sentence):
    path = tmp_path / "run.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=sentence):
        load(path)


def test_a_missing_file_names_its_neighbour(tmp_path):
    (tmp_path / "digits.yaml").write_text("")
    with pytest.raises(UserError, match=r'did you mean "digits\.yaml"'):
        load(tmp_path / "digit.yaml")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: x\ndata:\n  source: a.csv\n  label: y\n  source: b.csv\n")
    with pytest.raises(UserError, match='line 3, column 3: the key "source" stands twice in one section'):
        load(path)


def test_what_is_no_run_file_is_said(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no text in UTF-8; give a run file"):
        load(tmp_path / "binary.yaml")
    with pytest.raises(UserError, match="it is a folder"):
        load(tmp_path)


def test_a_key_that_stands_twice_beside_a_merge_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("base: &base {label: y}\ndata: {source: a.csv, <<: *base, source: b.csv}\n")
    with pytest.raises(UserError, match='line 2, column 8: the key "source" stands twice in one section'):
        load(path)


def test_numbers_are_those_of_yaml_1_2(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: demo\ndata: {source: a.csv}\npromote: {margin: 1e-3}\nsearch: {max_trials: 10}\n")
    run = load(path, ["data.shard_mb=1E2"])
    assert (run.promote.better_by, run.search.max_trials, run.data.shard_mb) == (0.001, 10, 100)


@pytest.mark.parametrize(
    ("text", "overrides", "notes"),
    [
        (
            "promote: {margin: 1e-3}",
            [],
            ["promote.margin is called promote.better_by today; the old name is still read"],
        ),
        ("promote: {better_by: 1e-3}", [], []),
        ("search: {max_trials: 10}", ["promote.margin=0.01"], ["promote.margin is called promote.better_by today"]),
        ("search: {from: demo}", [], []),
    ],
)
def test_a_key_with_another_name_today_is_told(tmp_path, text, overrides, notes):
    path = tmp_path / "run.yaml"
    path.write_text(f"name: demo\ndata: {{source: a.csv}}\n{text}\n")
    load(path, overrides)
    told = renamed(path, overrides)
    assert len(told) == len(notes)
    assert all(sentence.startswith(note) for sentence, note in zip(told, notes, strict=True))


DEEP = "data: " + "[" * 500 + "]" * 500
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"seed: {'9' * 5000}", "a value can't be read: Exceeds the limit (4300 digits)"),
        ("data: &x {source: *x}", "an alias stands inside of what it names"),
        ("data: {exclude: &x [*x]}", "an alias stands inside of what it names"),
        ("data: &x {exclude: [{a: *x}]}", "an alias stands inside of what it names"),
        (DEEP, "its values are nested too deeply"),
        (BOMB, "it holds more than 20,000 values, aliases included"),
        (f"{BOMB}data: {{exclude: *h}}", "it holds more than 20,000 values, aliases included"),
        ("x: " + "a" * (1 << 20), "it has 1,048,579 characters, and a run file at most 1,048,576"),
        ("seed: 010", '010 begins with a zero; write 10, or "010" for text'),
        ("seed: 1\nsearch: {max_trials: -007}", 'in line 2, column 22: -007 begins with a zero; write -7, or "-007"'),
    ],
    ids=lambda value: value[:20],
)
def test_a_hostile_file_is_one_sentence_in_no_time(tmp_path, text, words):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load(path)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


def test_aliases_of_a_reasonable_size_are_fine(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: demo\ndata: {source: a.csv, exclude: &x [a, b], missing: *x}\n")
    assert load(path).data.missing == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": True}, "seed: expected a whole number, got true"),
        ({"seed": "1:30"}, 'seed: expected a whole number, got "1:30"'),
        ({"seed": "7"}, 'seed: expected a whole number, got "7"'),
        ({"seed": 7.0}, "seed: expected a whole number, got 7.0"),
        ({"name": 5}, "name: expected text, got 5"),
        ({"promote": {"better_by": float("inf")}}, "promote.better_by: expected a finite number, got Infinity"),
        ({"promote": {"better_by": float("nan")}}, "promote.better_by: "),
        ({"search": {"max_trials": True}}, "search.max_trials: expected a whole number, got true"),
        ({"search": {"max_epochs": 10**9}}, "search.max_epochs: 1000000000 must be at most 1000000"),
        ({"best_epoch": {"max_epochs": 10**9}}, "best_epoch.max_epochs: 1000000000 must be at most 1000000"),
        ({"data": {"source": "a.csv", "shard_mb": 1e9}}, "data.shard_mb: 1000000000.0 must be at most 10000"),
        ({"data": {"source": "a.csv", "delimiter": ""}}, 'data.delimiter: "" must be one character'),
        ({"data": {"source": "a.csv", "delimiter": ";;"}}, 'data.delimiter: ";;" must be one character'),
        ({"data": {"source": "a.csv", "delimiter": "\n"}}, 'data.delimiter: "\\n" must be one character'),
        ({"data": {"source": "a.csv", "delimiter": "é"}}, 'data.delimiter: "\\u00e9" must be one character'),
        ({"data": {"source": "a\0b.csv"}}, 'data.source: "a\\u0000b.csv" holds a character that is no text; remove it'),
        ({"data": {"source": "a\ud800.csv"}}, 'data.source: "a\\ud800.csv" holds a character that is no text'),
        (
            {"data": {"source": "a.csv", "exclude": ["a\0"]}},
            'data.exclude: "a\\u0000" holds a character that is no text',
        ),
        ({"data": {"source": "a.csv", "types": {"a\0": "numeric"}}}, "data.types: "),
        (
            {"data": {"source": "a.csv", "label": "y", "types": {"y": "numeric"}}},
            'data: "types" has an entry for the label "y", whose kind is "task"; set that instead',
        ),
        (
            {
                "data": {
                    "source": "a",
                    "split": {"by": "column", "column": "c", "roles": {"train": ["a"], "test": ["a"]}},
                }
            },
            'data.split.roles: "a" means train and test; give it to one of them',
        ),
        (
            {"data": {"source": "a", "split": {"by": "column", "column": "c", "roles": {"test": ["validation"]}}}},
            'data.split.roles: "validation" means validation and test; give it to one of them',
        ),
    ],
)
def test_values_are_taken_for_what_they_are(change, sentence):
    with pytest.raises(UserError) as caught:
        validate(GOOD | change)
    assert sentence in str(caught.value)


def test_a_tab_separates_columns():
    assert validate({"name": "demo", "data": {"source": "a.tsv", "delimiter": "\t"}}).data.delimiter == "\t"


@pytest.mark.parametrize(
    ("source", "words"),
    [("~nosuchuser/x.csv", '"~nosuchuser/x.csv": there is no user nosuchuser; give a path'), ("~/x.csv", "")],
)
def test_the_home_of_nobody(source, words):
    location = Location(source)
    if not words:
        assert location.absolute().text.endswith("/x.csv")
        return
    with pytest.raises(UserError) as caught:
        location.absolute()
    assert str(caught.value) == words


def test_what_kubernetes_takes_is_taken():
    machine = {
        "volumes": {
            "data-1": "/data",
            "more": "/data/more",
            "x" * 63: "/tmp/cache",
            "ca": "/etc/ssl/certs",
            "x": "/var/x/",
        },
        "secrets": {"login": "/login"},
        "secret_variables": {"login": {"key.json": "GOOGLE_APPLICATION_CREDENTIALS", "A_b-1": "_OWN2"}},
        "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4", "zone": ""},
        "tolerations": [{"operator": "Exists"}, {"key": "a.b/c", "value": "d", "effect": "NoSchedule"}],
    }
    validate(GOOD | {"hardware": {"promote": {"machine": machine}}})


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({}, (30, 4, 20.0)),
        ({"minutes": 2}, (1000, 12, 6.0)),
        ({"minutes": 60}, (1000, 12, 20.0)),
        ({"minutes": 2, "search": {"max_trials": 7}}, (7, 12, 6.0)),
        ({"minutes": 2, "search": {"top_n": 3}, "evaluate": {"why_seconds": 30}}, (1000, 3, 30.0)),
    ],
)
def test_with_minutes_the_time_is_the_limit_where_none_is_given(given, limits):
    run = validate(GOOD | given)
    assert (run.search.max_trials, run.search.top_n, run.evaluate.why_seconds) == limits
    # A run is done again from its record, which holds every setting.
    assert validate(run.model_dump(mode="json", by_alias=True)) == run
