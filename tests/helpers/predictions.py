"""Sources of predictions."""

import pyarrow as pa
import pyarrow.csv

from tests.helpers.paths import DATA


def churn(rows: int = 3000) -> pa.Table:
    """Rows of churn again and again, with a column that names each."""
    table = pyarrow.csv.read_csv(DATA / "churn.csv")
    table = pa.concat_tables([table] * -(-rows // len(table))).slice(0, rows)
    return table.add_column(0, "account", pa.array([f"a{number}" for number in range(rows)]))
