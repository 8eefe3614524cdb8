"""Exports of an ensemble to SavedModel, Keras, TensorFlow Lite and TensorFlow.js."""
