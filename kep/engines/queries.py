"""Bytes that BigQuery reads and charges for the sources of a run file."""

from kep.config.data import DataSettings
from kep.core.location import Location
from kep.data.sources.bigquery import look
from kep.engines.prices import Prices, load


def announced(data: DataSettings) -> list[str]:
    """A sentence for each bq:// source: what would be read, and what that costs. BigQuery charges nothing to say so.

    Args:
        data: Data of the run file.

    Raises:
        UserError: A source can't be read.
    """
    return [_sentence(location, load()) for location in data.locations.values() if location.scheme == "bq"]


def _sentence(location: Location, prices: Prices) -> str:
    asked = look(location)
    if not asked.query:
        return f"BigQuery would extract {asked.table}, {asked.bytes / 1e9:.2f} GB, which costs nothing but its storage"
    if prices.query_tib is None:
        price = f"which has no price in the list of {prices.date}"
    else:
        cost = asked.bytes / 2**40 * prices.query_tib
        price = f"about {cost:.2f} {prices.currency} (prices of {prices.date}, on demand)"
    return f"BigQuery would read {asked.bytes / 1e9:.2f} GB for {asked.query[:60]}, {price}"
