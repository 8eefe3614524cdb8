"""The compiled demo."""

from tests.helpers.paths import ROOT

GOLDEN = ROOT / "tests" / "pipelines" / "digits.golden.yaml"


CONFIG = ROOT / "pipelines" / "configs" / "digits.yaml"
