"""The ledger: which step read which role."""

from kep.core.json_model import JsonModel


class LedgerLine(JsonModel):
    """One reading of a role's rows by a step."""

    step: str
    role: str
    """Name of the role; for stored predictions with their kind, such as `validation (stored predictions)`."""
    rows: int
    fingerprint: str
    """Fingerprint of the role's shards."""

    @property
    def plain_role(self) -> str:
        """Name of the role alone."""
        return self.role.split()[0]
