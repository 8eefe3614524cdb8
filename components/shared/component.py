"""The one way a component is declared: a thin body that imports this package from the image it runs in."""

import functools

from kfp import dsl

IMAGE = "keras-ensemble-pipelines/cpu"
"""The image of every step. Locally the steps run in this environment, and the name is not looked at."""

step = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
