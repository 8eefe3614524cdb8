"""Makes customers.csv, the same bytes every time: python examples/churn/make.py

A table as it comes from an office: dates with the day first, dollars with thousands marks, percentages, postcodes with
leading zeros, gaps, a note that nobody reads, one customer in seven who left. Surveyed customers stand for others of
their kind, so each row has a weight.
"""

import csv
from datetime import date, timedelta
from pathlib import Path

import numpy as np

ROWS = 1500
NOTES = ("asked about roaming", "wants a call back", "moved to a new flat", "complained about the bill", "new phone")


def main() -> None:
    """Write the table beside this file."""
    random = np.random.default_rng(7)
    rows = [customer(random, number) for number in range(ROWS)]
    with open(Path(__file__).with_name("customers.csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def customer(random: np.random.Generator, number: int) -> dict[str, object]:
    """Return one row."""
    since = date(2016, 1, 1) + timedelta(days=int(random.integers(0, 3200)))
    years = (date(2025, 1, 1) - since).days / 365.25
    plan = str(random.choice(["basic", "plus", "premium"], p=[0.5, 0.35, 0.15]))
    spent = float(random.gamma(6, {"basic": 60, "plus": 130, "premium": 260}[plan]))
    discount = int(random.choice([0, 5, 10, 15, 20], p=[0.5, 0.15, 0.15, 0.1, 0.1]))
    calls = int(random.poisson(1.4))
    contract = str(random.choice(["NA", "1 year", "2 years"], p=[0.45, 0.35, 0.2]))
    postcode = str(random.choice(["01067", "04109", "10115", "20095", "50667", "80331"]))
    logit = -2.8 - 0.22 * years + 0.65 * calls - 0.05 * discount + 0.0008 * spent
    logit += {"NA": 0.9, "1 year": 0.0, "2 years": -0.9}[contract] + (0.8 if postcode.startswith("0") else 0.0)
    left = random.random() < 1 / (1 + np.exp(-logit))
    note = f"{random.choice(NOTES)}, {random.choice(NOTES)} on day {int(random.integers(1, 999))}"
    return {
        "customer": f"C-{number:05d}",
        "since": since.strftime("%d.%m.%Y"),
        "plan": plan,
        "contract": contract,
        "spent": "" if random.random() < 0.06 else f"${spent:,.2f}",
        "discount": f"{discount} %",
        "support_calls": calls,
        "postcode": postcode,
        "paperless": "" if random.random() < 0.04 else str(random.random() < 0.6),
        "note": note,
        "stands_for": int(random.integers(1, 5)),
        "status": "left" if left else "stayed",
    }


if __name__ == "__main__":
    main()
