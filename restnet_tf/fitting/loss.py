"""What every fit lowers: the KL to the large anchor, and beside it a little of the labels' cross-entropy."""

from __future__ import annotations

from typing import Any

_LABEL_WEIGHT = 0.1


def kl_divergence(teacher: Any, logits: Any) -> Any:
    """KL(teacher || student) of softmaxed logits ``(n, classes)``, in nats, a value a row."""
    import tensorflow as tf

    log_p, log_q = tf.nn.log_softmax(teacher), tf.nn.log_softmax(logits)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


def distillation(teacher: Any, logits: Any, labels: Any) -> Any:
    """The mean KL to a teacher and, where there are labels ``(n, classes)``, their cross-entropy, by its weight."""
    import tensorflow as tf

    loss = tf.reduce_mean(kl_divergence(teacher, logits))
    if labels.shape[1]:
        cross = -tf.reduce_sum(labels * tf.nn.log_softmax(logits), axis=-1)
        loss += _LABEL_WEIGHT * tf.reduce_mean(cross)
    return loss
