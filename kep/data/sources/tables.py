"""CSV and Parquet as units: a CSV is cut into blocks of text, a Parquet file into row groups."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import fs

from kep.config.data import DataSettings
from kep.core.errors import UserError, nearest
from kep.data.data_frames import index_columns
from kep.data.sources.unit import BLOCK, Source, Unit, given

_DELIMITERS = {",": '","', ";": '";"', "\t": r'"\t"', "|": '"|"'}
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def csv_source(location: str, system: fs.FileSystem, files: list[fs.FileInfo], settings: DataSettings) -> Source:
    """CSV files with the same header line; values stay text.

    Raises:
        UserError: a file has no header, or another one, or only one column, or a name twice.
    """
    names = _header(system, files[0], settings.delimiter)
    for info in files[1:]:
        _same_columns(files[0], names, info, _header(system, info, settings.delimiter))

    def units(columns: list[str]) -> Iterator[Unit]:
        for info in files:
            for batch in _csv_batches(system, info, settings.delimiter, columns):
                yield Unit(given, (batch,), info.base_name, info.path)

    return Source(location, names, False, sum(info.size for info in files), units)


def partitions_of(root: str, files: list[fs.FileInfo]) -> list[dict[str, str | None]]:
    """The columns that the folders of each file name, as Hive and Spark write them: year=2024/month=1/part.parquet.

    Args:
        root: folder that the source names.
        files: the files under it.

    Raises:
        UserError: the files name different columns.
    """
    found: list[dict[str, str | None]] = []
    for info in files:
        folders = info.path.removeprefix(root.rstrip("/") + "/").split("/")[:-1]
        pairs = [folder.split("=", 1) for folder in folders if re.fullmatch(r"[^=]+=[^=]*", folder)]
        found.append({unquote(name): None if value == _HIVE_NULL else unquote(value) for name, value in pairs})
        if found[-1].keys() != found[0].keys():
            name = sorted(found[-1].keys() ^ found[0].keys())[0]
            raise UserError(
                f'data.source: the folders of some files name a value of "{name}" ({name}=…), those of others do not; '
                "give files of one layout"
            )
    return found


def _partition_array(values: list[str | None], value: str | None, rows: int) -> pa.Array:
    """One value for all rows of a file: an integer where all files have integers, else text."""
    whole = all(one is None or re.fullmatch(r"-?(0|[1-9]\d{0,17})", one) for one in values)
    return pa.array([int(value) if whole and value is not None else value] * rows, pa.int64() if whole else pa.string())


def find_delimiter(system: fs.FileSystem, info: fs.FileInfo) -> str:
    """The mark that cuts the first lines into most columns, equally many in each; a comma where there is none."""
    with system.open_input_stream(info.path) as stream:
        start = stream.read(1 << 16)
    text = start.decode("utf-8-sig", errors="ignore")
    widths = {}
    for mark in _DELIMITERS:
        try:
            rows = [len(row) for row in _rows(text, mark) if row]
        except csv.Error:  # a value that is too long; the reader of the header says so
            rows = []
        # The last row that was read may be cut.
        rows = rows[: 20 if len(start) < 1 << 16 else max(1, min(20, len(rows) - 1))]
        widths[mark] = rows[0] if rows and len(set(rows)) == 1 else 1
    return max(widths, key=lambda mark: widths[mark])


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Return the rows of a text, whose lines may end in LF, CR LF or, as on old Macs, CR."""
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def _header(system: fs.FileSystem, info: fs.FileInfo, delimiter: str) -> list[str]:
    with system.open_input_stream(info.path) as stream:
        start = stream.read(1 << 20)
    if not start.strip():
        raise UserError(f"data.source: {info.base_name} is empty; give a file with a header line and rows")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(
            f"data.source: {info.base_name} is UTF-16; convert it to UTF-8, such as with iconv -f utf-16 -t utf-8"
        )
    try:
        text = start.decode("utf-8-sig", errors="ignore" if len(start) == 1 << 20 else "strict")
        first = next(_rows(text, delimiter))
    except UnicodeDecodeError as error:
        raise _wrong_encoding(system, info) from error
    except csv.Error as error:
        raise UserError(
            f"data.source: the header line of {info.base_name} can't be read ({error}); is a quotation mark missing?"
        ) from error
    if len(first) == 1:
        other = next((mark for mark in _DELIMITERS if mark != delimiter and mark in first[0]), None)
        hint = f"; set data.delimiter: {_DELIMITERS[other]}" if other else "; give a label and at least one feature"
        raise UserError(f'data.delimiter: {info.base_name} has one column when split at "{delimiter}"{hint}')
    _unique(first, info.base_name)
    return first


def _unique(names: list[str], file: str) -> None:
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise UserError(f'data.source: {file} has two columns named "{twice}"; rename one')
    if "" in names:
        index = ", or write it without the index of its data frame (index=False)" if names[0] == "" else ""
        raise UserError(
            f"data.source: column {names.index('') + 1} of {file} has no name; name it in the header line{index}"
        )


def _same_columns(first: fs.FileInfo, names: list[str], info: fs.FileInfo, other: list[str]) -> None:
    differing = sorted(set(names) ^ set(other))
    if differing:
        where, absent = (info, first) if differing[0] in other else (first, info)
        raise UserError(
            f'data.source: column "{differing[0]}" is in {where.base_name} but not in {absent.base_name}'
            f"{nearest(differing[0], set(names) ^ set(other) ^ {differing[0]})}; give files with the same "
            "columns"
        )


def _csv_batches(
    system: fs.FileSystem, info: fs.FileInfo, delimiter: str, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    try:
        with system.open_input_stream(info.path) as stream:
            reader = pyarrow.csv.open_csv(
                stream,
                read_options=pyarrow.csv.ReadOptions(block_size=BLOCK, use_threads=False),
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.string()),
                    include_columns=columns,
                    # Which texts mean a missing value is a column's own matter.
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
            yield from reader
    except pa.ArrowInvalid as error:
        raise _csv_error(system, info, delimiter, error) from error


def _csv_error(system: fs.FileSystem, info: fs.FileInfo, delimiter: str, error: pa.ArrowInvalid) -> UserError:
    """The cause, found by reading the file again slowly."""
    if "UTF8" in str(error) or "UTF-8" in str(error):
        return _wrong_encoding(system, info)
    with system.open_input_stream(info.path) as stream:
        rows = csv.reader(io.TextIOWrapper(stream, "utf-8-sig", newline=""), delimiter=delimiter)
        try:
            width = len(next(rows))
            for row in rows:
                if row and len(row) != width:
                    return UserError(
                        f"data.source: line {rows.line_num} of {info.base_name} has {len(row)} values, the "
                        "header line has "
                        f"{width}; correct that line (quote values that hold the delimiter)"
                    )
        except csv.Error as slow:
            return UserError(
                f"data.source: line {rows.line_num} of {info.base_name} can't be read ({slow}); correct it"
            )
    return UserError(f"data.source: {info.base_name} is not a readable CSV file: {error}")


def _wrong_encoding(system: fs.FileSystem, info: fs.FileInfo) -> UserError:
    with system.open_input_stream(info.path) as stream:
        for number, line in enumerate(io.BufferedReader(stream), start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return UserError(
                    f"data.source: {info.base_name} is not UTF-8 (byte 0x{line[error.start]:02x} at position "
                    f"{error.start + 1} of line {number}); convert it, such as with iconv -f latin1 -t utf-8"
                )
    return UserError(f"data.source: {info.base_name} is not UTF-8; convert it, such as with iconv -f latin1 -t utf-8")


def parquet_source(location: str, root: str, system: fs.FileSystem, files: list[fs.FileInfo]) -> Source:
    """Parquet files with the same columns, and those that their folders name.

    Raises:
        UserError: a file is not Parquet, or has other columns.
    """
    groups: list[tuple[fs.FileInfo, int]] = []
    parts = partitions_of(root, files)
    part_of = {info.path: part for info, part in zip(files, parts, strict=True)}
    schemas = []
    for info in files:
        try:
            with pq.ParquetFile(system.open_input_file(info.path)) as file:
                schemas.append(file.schema_arrow)
                groups += [(info, group) for group in range(file.num_row_groups)]
        except pa.ArrowInvalid as error:
            raise UserError(f"data.source: {info.base_name} is not a readable Parquet file: {error}") from error
        _unique(schemas[-1].names, info.base_name)
        _same_columns(files[0], schemas[0].names, info, schemas[-1].names)

    # A column that the files hold as well is theirs.
    named = [name for name in parts[0] if name not in schemas[0].names]
    values = {name: [part[name] for part in parts] for name in named}

    def units(columns: list[str]) -> Iterator[Unit]:
        for info, group in groups:
            fixed = {name: (values[name], part_of[info.path][name]) for name in columns if name in named}
            yield Unit(_parquet_batches, (system, info.path, group, columns, fixed), info.base_name, info.path)

    index = frozenset[str]().union(*map(index_columns, schemas))
    return Source(location, [*schemas[0].names, *named], True, sum(info.size for info in files), units, index=index)


def _parquet_batches(
    system: fs.FileSystem,
    path: str,
    group: int,
    columns: list[str],
    fixed: dict[str, tuple[list[str | None], str | None]],
) -> Iterator[pa.RecordBatch]:
    rows = max(64, 2 * BLOCK // (8 * len(columns)))
    stored = [name for name in columns if name not in fixed]
    with pq.ParquetFile(system.open_input_file(path)) as file:
        for batch in file.iter_batches(rows, row_groups=[group], columns=stored):
            arrays = {name: batch[name] for name in stored}
            arrays |= {name: _partition_array(*given, batch.num_rows) for name, given in fixed.items()}
            yield pa.record_batch({name: arrays[name] for name in columns})
