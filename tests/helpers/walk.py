"""A tiny run, component after component, with the inputs that a real Kubeflow handed over: `python -m … FOLDER`."""

import json
import sys
from pathlib import Path
from typing import Any

from kep.components.tune.component import suggest
from kep.config.data import DataSettings
from kep.config.run_file import RunFile
from kep.storage.champions import Champion
from tests.helpers.executor import RECORDINGS, execute, local, recorded

TREES = json.dumps([{"name": "boosted_trees"}])
IRIS = DataSettings(source="sklearn:iris").to_json()


class Walk:
    """Runs components to their end, with the parameters of a tiny run and artifacts of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "store"

    def run(
        self, name: str, place: str = "", lists: dict[str, list[str]] | None = None, **parameters: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Run the component of a recording.

        Args:
            name: Of the recording.
            place: Folder of its one output, in place of the recorded one.
            lists: Artifacts of inputs that are lists, in place of the recorded ones.
            parameters: In place of recorded ones.

        Returns:
            What the component returned, and the input that it got.
        """
        given = local(recorded(name), RECORDINGS[name], self.store, code="", **parameters)
        artifacts = given["inputs"].get("artifacts", {})
        for key, folders in (lists or {}).items():
            artifacts[key] = {"artifacts": [artifacts[key]["artifacts"][0] | {"uri": folder} for folder in folders]}
        if "test" in RECORDINGS[name].component_spec.inputs:
            # Rows for evaluate alone are an output of ingest since the recording.
            records = artifacts["records"]["artifacts"][0]
            artifacts["test"] = {"artifacts": [records | {"uri": str(Path(records["uri"]).with_name("test"))}]}
        if place:
            outputs = given["outputs"]["artifacts"]
            (output,) = (one for key, one in outputs.items() if key != "executor-logs")
            output["artifacts"][0]["uri"] = place
        return execute(RECORDINGS[name], given), given

    def rounds(self) -> list[str]:
        """A search in two rounds; return what each suggestion wrote."""
        self.run("shop_ingest", config=IRIS, source="")
        orders, first = self.run("shop_suggest", families=TREES)
        places = _uris(local(recorded("shop_suggest_2"), suggest, self.store), "inputs", "trials")
        for order, place in zip(orders, places, strict=True):
            self.run("shop_trial", place, families=TREES, order=order)
        _, second = self.run("shop_suggest_2", families=TREES)
        return [_uris(one, "outputs", "search")[0] for one in (first, second)]

    def flow(self) -> str:
        """The whole flow; return the folder of its verdict."""
        small = {"max_trials": 2, "max_epochs": 1, "top_n": 2, "workers": 1, "tuner": "random"}
        self.run("digits_ingest", config=IRIS, source="")
        candidates, _ = self.run("digits_tune", families=TREES, config=_settings("digits_tune", **small))
        short = _settings("digits_best_epoch", max_epochs=2, seeds=2)
        results = [str(self.folder / f"result-{number}") for number in range(len(candidates))]
        for place, candidate in zip(results, candidates, strict=True):
            self.run("digits_best_epoch", place, families=TREES, candidate=candidate, config=short)
        members, _ = self.run("digits_weigh", lists={"results": results})
        models = [str(self.folder / f"model-{number}") for number in range(len(members))]
        for place, member in zip(models, members, strict=True):
            self.run("digits_retrain", place, families=TREES, member=member)
        champion = Champion(folder=str(self.folder / "champions")).to_json()
        self.run(
            "digits_evaluate",
            lists={"results": results, "members": models},
            config=_settings("digits_evaluate", bootstrap=100),
            asked=RunFile(name="iris", data=json.loads(IRIS)).to_json(),
            champion=champion,
        )
        _, promoted = self.run("digits_promote", config="{}", champion=champion)
        return _uris(promoted, "outputs", "verdict")[0]


def _uris(given: dict[str, Any], way: str, name: str) -> list[str]:
    return [one["uri"] for one in given[way]["artifacts"][name]["artifacts"]]


def _settings(name: str, **more: Any) -> str:
    return json.dumps(json.loads(recorded(name)["inputs"]["parameterValues"]["config"]) | more)


if __name__ == "__main__":
    walk = Walk(Path(sys.argv[1]))
    print(json.dumps({"rounds": walk.rounds(), "verdict": walk.flow()}))
