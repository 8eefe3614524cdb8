"""What TensorBoard shows of a run of the tests."""

NAMES = ("mlp", "mlp")
