"""Who is told: what a run file may say, and what is refused when it is read."""

import json

import pytest

from kep.config.run_file import RunFile, validate
from kep.core.errors import UserError


def run_file(notify: dict) -> RunFile:
    return validate({"name": "demo", "data": {"source": "x.csv"}, "notify": notify})


@pytest.mark.parametrize(
    "notify",
    [
        {"webhook": "https://hooks.slack.com/services/T0/B0/x"},
        {"webhook": "http://localhost:8065/hooks/x"},
        {"webhook": "http://127.0.0.1:1/x"},
        {"webhook": "env:SLACK_WEBHOOK"},
        {"command": "jq -r .text | mail -s kep me@example.com"},
        {"topic": "projects/shop-ml/topics/kep"},
        {"topic": "projects/example.com:shop/topics/kep-runs", "on": ["failed"]},
        {},
    ],
)
def test_a_run_file_says_who_is_told(notify):
    settings = run_file(notify)
    assert settings.notify.channels == {key: value for key, value in notify.items() if key != "on"}
    assert validate(json.loads(settings.to_json())) == settings
    assert settings.notify.asks_for("failed") == bool(notify)
    assert settings.notify.asks_for("drift") == (bool(notify) and "on" not in notify)


@pytest.mark.parametrize(
    ("notify", "words"),
    [
        ({"webhook": "http://hooks.example.com/s3cr3t"}, "notify.webhook: expected an address that begins with https"),
        ({"webhook": "hooks.example.com/s3cr3t"}, "notify.webhook: expected an address that begins with https://"),
        ({"webhook": "https://"}, "notify.webhook: expected an address"),
        ({"webhook": "https://a b/s3cr3t"}, "notify.webhook: expected an address"),
        ({"webhook": "http://localhost.example.com/s3cr3t"}, "notify.webhook: expected an address"),
        ({"webhook": "env:"}, "notify.webhook: after env: expected the name of an environment variable"),
        ({"webhook": "env:https://x/s3cr3t"}, "notify.webhook: after env: expected the name"),
        ({"topic": "kep"}, 'notify.topic: "kep" is not a Pub/Sub topic; give projects/PROJECT/topics/TOPIC'),
        ({"topic": "projects/p/subscriptions/kep"}, "is not a Pub/Sub topic"),
        ({"command": " "}, "notify.command: it is empty"),
        ({"command": "mail 'x"}, "notify.command: it is not a valid shell command line (no closing quotation)"),
        ({"command": ["mail", "x"]}, "notify.command: expected text"),
        ({"command": "x", "on": "failed"}, "notify.on: expected a list, such as [failed]"),
        ({"command": "x", "on": []}, "notify.on: the list is empty"),
        ({"command": "x", "on": ["fail"]}, 'notify.on.0: "fail" is not one of failed, not_promoted, promoted, drift'),
        ({"on": ["failed"]}, "notify: nobody would be told; give command, webhook or topic"),
        ({"slack": "x"}, 'notify.slack: unknown key "slack"'),
    ],
)
def test_what_tells_nobody_is_refused_without_the_secret(notify, words):
    with pytest.raises(UserError) as refused:
        run_file(notify)
    assert words in str(refused.value)
    assert "s3cr3t" not in str(refused.value)
