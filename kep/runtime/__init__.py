"""A step's life: its entry, progress, ledger, hardware and KFP artifacts."""
