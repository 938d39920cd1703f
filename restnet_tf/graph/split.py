"""Any functional Keras model in two: where it can be cut, and the models in front of a cut and behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restnet_tf.graph import cuts as graph_cuts
from restnet_tf.graph import surgery
from restnet_tf.records import Anchor, Cut, RestnetError

if TYPE_CHECKING:
    import keras


def flat(model: Anchor | keras.Model) -> keras.Model:
    """One functional graph of a model, the models that it holds as layers laid flat; weights are shared.

    The model is left as it is; where nothing has to be laid flat, its own graph comes back. Raises
    ``RestnetError`` for subclassed models, and where two layers inside have the same name.
    """
    if isinstance(model, Anchor):
        return model.model
    graph = surgery.functional_graph(model, model.name)
    if not any(surgery.functional_of(operation) is not None for operation in graph.operations):
        return graph
    try:
        return surgery.flattened(graph)
    except ValueError as error:
        raise RestnetError(
            f"{model.name} holds models whose layers cannot stand side by side: {str(error).splitlines()[0]}; give"
            " them names of their own"
        ) from error


def cuts(model: Anchor | keras.Model) -> tuple[Cut, ...]:
    """Where a model can be cut: tensors that every path from its inputs to its outputs runs through.

    ``model`` is an anchor or any functional (or Sequential) Keras model, whose nested models are looked into. The
    cuts are those at block boundaries, from input to output; each says its layer, shape (without the batch), the
    range that its activation allows, and MACs and parameters before and after, of one image. Raises
    ``RestnetError`` where there is none, with the reason.
    """
    return graph_cuts.find(flat(model))


def split(model: Anchor | keras.Model, cut: Cut | str) -> tuple[keras.Model, keras.Model]:
    """The two models that a cut leaves: ``back(front(x))`` is ``model(x)``.

    ``cut`` is one of ``cuts(model)``, or the name of any layer behind which a single tensor is live. The front takes
    the model's inputs and gives the cut's activations ``(n, *cut.shape)``; the back takes these and gives the model's
    outputs, in the model's own structure. Both share the model's weights, and the model is left as it is. Raises
    ``RestnetError`` where that is no cut of the model; the error lists its cuts.
    """
    import keras

    whole = flat(model)
    tensor = graph_cuts.tensor(whole, cut.name if isinstance(cut, Cut) else cut)
    front = keras.Model(whole.input, tensor, name="front")
    back = graph_cuts.between(whole, tensor, whole.outputs)
    outputs = keras.tree.pack_sequence_as(whole.output, back.outputs)
    return front, keras.Model(back.inputs[0], outputs, name="back")
