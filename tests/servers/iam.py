"""Resource Manager, IAM and a registry of images, as far as rights are asked for."""

import json

from google.iam.v1.iam_policy_pb2 import TestIamPermissionsRequest
from google.protobuf.json_format import ParseDict

from tests.servers.tunnel import Running, Tunnel, json_handler

STEPS = "steps@shop-ml.iam.gserviceaccount.com"


class Google(Running):
    """The policies of a project and of an account, and a registry of images.

    Attributes:
        roles: of the steps' account.
        on_itself: those on that account.
        own: status of the answers to questions about those.
        images: digests that the registry has.
        status: of the answers to questions about the policy.
        lacking: permissions that whoever asks has not.
    """

    def __init__(self, tunnel: Tunnel):
        self.roles, self.images, self.status = ["roles/aiplatform.user"], {"a" * 64, "b" * 64}, 200
        self.lacking: set[str] = set()
        self.on_itself, self.own = ["roles/iam.serviceAccountUser"], {"status": 200}
        hosts = {
            r"iam\.googleapis\.com": (self._own_policy, "iam.v1"),
            r"cloudresourcemanager\.googleapis\.com": (self._policy, "cloudresourcemanager.v3"),
            r"europe-docker\.pkg\.dev": (self._manifest, ""),
        }
        self._servers = [tunnel.https(host, json_handler(*answer)) for host, answer in hosts.items()]

    def _policy(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        if path.startswith("/v3/projects/shop-ml:testIamPermissions"):
            return 200, self._held(body)
        assert path.startswith("/v3/projects/shop-ml:getIamPolicy")
        bindings = [{"role": role, "members": [f"serviceAccount:{STEPS}"]} for role in self.roles]
        return _answered(self.status, {"bindings": bindings})

    def _own_policy(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        if (method, path) == ("POST", f"/v1/projects/-/serviceAccounts/{STEPS}:testIamPermissions"):
            return 200, self._held(body)
        assert (method, path) == ("POST", f"/v1/projects/-/serviceAccounts/{STEPS}:getIamPolicy")
        bindings = [{"role": role, "members": [f"serviceAccount:{STEPS}"]} for role in self.on_itself]
        return _answered(self.own["status"], {"bindings": bindings} if bindings else {"etag": "ACAB"})

    def _held(self, body: bytes) -> dict:
        """What testIamPermissions answers: those of the permissions that one has, and no field for none."""
        asked = TestIamPermissionsRequest()
        ParseDict(json.loads(body), asked)
        held = [one for one in asked.permissions if one not in self.lacking]
        return {"permissions": held} if held else {}

    def _manifest(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        return (200 if path.rpartition("sha256:")[2] in self.images else 404), {}


def _answered(status: int, content: dict) -> tuple[int, object]:
    """The content, or the error that Google's APIs answer."""
    refused = {"error": {"code": status, "message": "Permission denied", "status": "PERMISSION_DENIED"}}
    return status, content if status == 200 else refused
