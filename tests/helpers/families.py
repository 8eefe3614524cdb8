"""Families as tests make them."""

import json

from kep.models.registry import family, travelling


def defaults(member) -> dict:
    return dict(member.space().values)


def made(own, function, manifest):
    (spec,) = travelling([f"own.py:{function}"], own)
    return family(json.loads(json.dumps(spec)), manifest)
