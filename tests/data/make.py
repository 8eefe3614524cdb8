"""Makes the small data sets of the tests, the same bytes every time: python tests/data/make.py"""

import csv
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HERE = Path(__file__).parent


def main() -> None:
    """Writes all sets beside this file."""
    _write("churn.csv", _churn(np.random.default_rng(1), 600))
    _write("houses.csv", _houses(np.random.default_rng(2), 400))
    _write("visits.csv", _visits(np.random.default_rng(3), 400))
    _shapes(np.random.default_rng(4), 20)


def _write(name: str, rows: list[dict]) -> None:
    with open(HERE / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _churn(random: np.random.Generator, count: int) -> list[dict]:
    """Customers: missing values, categories, booleans, about one in seven churned."""
    rows = []
    for index in range(count):
        months = int(random.integers(1, 72))
        plan = str(random.choice(["basic", "plus", "premium"], p=[0.5, 0.35, 0.15]))
        charge = round(float(random.normal({"basic": 25, "plus": 45, "premium": 80}[plan], 6)), 2)
        paperless = bool(random.random() < 0.6)
        calls = int(random.poisson(1.5))
        logit = -2.4 - 0.04 * months + 0.6 * calls + 0.015 * charge + (0.5 if plan == "basic" else 0)
        churned = "yes" if random.random() < 1 / (1 + np.exp(-logit)) else "no"
        region = str(random.choice(["north", "south", "east", "west", ""], p=[0.3, 0.3, 0.2, 0.15, 0.05]))
        rows.append(
            {
                "customer": f"C{index:05d}x{int(random.integers(1e6)):06d}",
                "months": months,
                "plan": plan,
                "monthly_charge": "" if random.random() < 0.08 else charge,
                "paperless": str(paperless).lower(),
                "support_calls": calls,
                "region": region,
                "churned": churned,
            }
        )
    return rows


def _houses(random: np.random.Generator, count: int) -> list[dict]:
    """Houses with their price in thousands."""
    rows = []
    for _ in range(count):
        area = round(float(random.gamma(9, 14)), 1)
        rooms = max(1, round(area / 28 + float(random.normal(0, 0.7))))
        year = int(random.integers(1920, 2024))
        heating = str(random.choice(["gas", "heat pump", "oil", "district"], p=[0.45, 0.25, 0.2, 0.1]))
        distance = round(float(random.exponential(6)), 2)
        price = 40 + 2.4 * area + 0.35 * (year - 1920) - 4.5 * distance + (18 if heating == "heat pump" else 0)
        rows.append(
            {
                "area_m2": area,
                "rooms": rooms,
                "year": year if random.random() > 0.05 else "",
                "heating": heating,
                "distance_km": distance,
                "price": round(price + float(random.normal(0, 15)), 2),
            }
        )
    return rows


def _visits(random: np.random.Generator, count: int) -> list[dict]:
    """Visits to a shop over 200 days, two a day, with how each came out."""
    rows = []
    for index in range(count):
        day = date(2024, 1, 1) + timedelta(days=index // 2)
        minutes = round(float(random.gamma(2, 6)), 1)
        pages = 1 + int(random.poisson(minutes / 3))
        channel = str(random.choice(["search", "mail", "direct"]))
        score = 0.25 * pages + (0.8 if channel == "mail" else 0) + float(random.normal(0, 0.8))
        outcome = "bought" if score > 2.2 else "asked" if score > 1.2 else "left"
        rows.append(
            {
                "day": day.isoformat(),
                "weekday": day.strftime("%a"),
                "channel": channel,
                "minutes": minutes,
                "pages": pages,
                "outcome": outcome,
            }
        )
    order = random.permutation(count)
    return [rows[index] for index in order]


def _shapes(random: np.random.Generator, count: int) -> None:
    """12x12 grey images of circles and squares, PNG and JPEG."""
    for name in ("circle", "square"):
        folder = HERE / "shapes" / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image = Image.fromarray(random.integers(0, 60, (12, 12), np.uint8))
            left, top = (int(value) for value in random.integers(0, 4, 2))
            size = int(random.integers(6, 9))
            box = (left, top, left + size, top + size)
            draw = ImageDraw.Draw(image)
            shade = int(random.integers(150, 256))
            if name == "circle":
                draw.ellipse(box, fill=shade)
            else:
                draw.rectangle(box, fill=shade)
            if index % 3:
                image.save(folder / f"{index:02d}.png")
            else:
                image.save(folder / f"{index:02d}.{'jpg' if index % 2 else 'JPEG'}", quality=90)


if __name__ == "__main__":
    main()
