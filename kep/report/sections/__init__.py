"""The sections of the report: each function turns artifacts into what its part of the template shows."""
