"""Tumours by a training loop of one's own, which tells its callbacks of each epoch.

The structure is that of KerasTuner's guide "Tune hyperparameters in your custom training loop". Three things differ:
the loop runs for `epochs`, it does without validation rows (kep measures them itself, and retrains on all rows), and
the model ends in a softmax, since nothing but a compiled loss could say that its outputs are logits.
"""

import keras
import keras_tuner
import tensorflow as tf


class Looped(keras_tuner.HyperModel):
    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, hp):
        return keras.Sequential(
            [
                keras.layers.Dense(hp.Choice("units", self.units), activation="relu"),
                keras.layers.Dropout(hp.Float("rate", 0.0, 0.4, step=0.2)),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )

    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        batch_size = hp.Int("batch_size", 16, 64, step=16)
        rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(batch_size)
        optimizer = keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1e-1, sampling="log"))
        loss_fn, mean_loss = keras.losses.SparseCategoricalCrossentropy(), keras.metrics.Mean()

        @tf.function
        def train_step(features, labels):
            with tf.GradientTape() as tape:
                loss = loss_fn(labels, model(features, training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            mean_loss.update_state(loss)

        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(epochs):
            mean_loss.reset_state()
            for features, labels in rows:
                train_step(features, labels)
            loss = float(mean_loss.result())
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"loss": loss})
            if getattr(model, "stop_training", False):
                break
        return loss
