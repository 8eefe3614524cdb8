"""Test rows at rest: enciphered, so that whoever looks through the artifacts of a run finds none before evaluate.

The key follows from the manifest, so that nothing has to be handed on. This keeps honest code from reading test rows by
accident; it is no secret from whoever means to read them, as the source lies open all the same.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from kep.core.errors import RunError, UserError
from kep.data.records import READERS, check_reader
from kep.data.schema import Manifest

ENDING = ".sealed"
_BLOCK = 1 << 22


def seal(records: Path, test: Path) -> Manifest:
    """Move the test rows of records to a folder of their own, enciphered.

    Args:
        records: Folder with all roles; its manifest no longer names the shards of test afterwards.
        test: Folder for the test rows and the whole manifest.

    Returns:
        The whole manifest.
    """
    manifest = Manifest.load(records)
    for shard in manifest.roles["test"].shards:
        _encipher(manifest, records / shard.file, test / f"{shard.file}{ENDING}", shard.file)
        (records / shard.file).unlink()
    manifest.save(test)
    manifest.sealed.save(records)
    return manifest


@contextmanager
def unsealed(test: Path, step: str) -> Iterator[Path]:
    """Yield a folder with the test rows in the clear, which is removed when the block ends.

    Args:
        test: Output of `seal`.
        step: The step that reads it.

    Raises:
        UserError: The manifest is damaged, or the step may not read test rows.
        RunError: A shard is missing.
    """
    check_reader(step)
    if "test" not in READERS.get(step, ()):
        raise UserError(f"records: {step} may not read test rows")
    manifest = Manifest.load(test)
    with tempfile.TemporaryDirectory(prefix="kep-") as folder:
        for shard in manifest.roles["test"].shards:
            sealed = test / f"{shard.file}{ENDING}"
            try:
                _encipher(manifest, sealed, Path(folder) / shard.file, shard.file)
            except OSError as error:
                raise RunError(f"records: {sealed} cannot be read ({error.strerror}); run ingest again") from error
        manifest.save(folder)
        try:
            yield Path(folder)
        except (RunError, UserError) as error:
            # Where the rows lie, not their copy.
            raise type(error)(str(error).replace(folder, str(test))) from error


def _encipher(manifest: Manifest, source: Path, target: Path, name: str) -> None:
    """Write a file enciphered, or in the clear again: in counter mode both are the same."""
    key = hashlib.sha256(f"test rows of {manifest.fingerprint}".encode()).digest()
    cipher = Cipher(AES(key), CTR(hashlib.sha256(name.encode()).digest()[:16])).encryptor()
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while block := reader.read(_BLOCK):
            writer.write(cipher.update(block))
