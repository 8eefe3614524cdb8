"""The compiled demo."""

from pathlib import Path

from tests.helpers.paths import ROOT

GOLDEN = Path(__file__).with_name("digits.golden.yaml")


CONFIG = ROOT / "pipelines" / "configs" / "digits.yaml"
