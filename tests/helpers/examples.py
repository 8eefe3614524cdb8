"""TFRecords as other tools write them: with TensorFlow's own classes."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def example(row: dict):
    """One tf.train.Example; None is a feature that is absent, a list a feature of several values."""
    import tensorflow as tf

    def feature(value):
        values = value if isinstance(value, list) else [value]
        values = [one.encode() if isinstance(one, str) else one for one in values]
        if values and isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if values and isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    features = {name: feature(value) for name, value in row.items() if value is not None}
    return tf.train.Example(features=tf.train.Features(feature=features))


def write_examples(path: Path, rows: list[dict], compression: str = "") -> None:
    """Writes a TFRecord file; `compression` is TensorFlow's name of it."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for row in rows:
            writer.write(row if isinstance(row, bytes) else example(row).SerializeToString())
