"""What TensorFlow, Keras and Python do for every network, in a process that builds thousands of small ones, done once.

None of it changes a number or a byte; a quarter of the time that a small network takes to build is in it.
"""

from __future__ import annotations

import functools
import inspect
import typing
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any


def all_at_once() -> None:
    """Once a process, when TensorFlow is there."""
    for one in (
        _variables,
        _kernels,
        _protocols,
        _signatures,
        _attributes,
        _saved_attributes,
        _stacks,
        _saved_models,
        _tables,
    ):
        one()


def _variables() -> None:
    """Eager TensorFlow makes a kernel for each name that a variable has for debugging, in a millisecond.

    A network of random weights, of which the tests build thousands, takes a quarter less without these names.
    """
    from tensorflow.python.ops import gen_resource_variable_ops as ops

    handle = ops.var_handle_op
    ops.var_handle_op = lambda *args, **options: handle(*args, **{**options, "debug_name": ""})


def _kernels() -> None:
    """Each seed that is set makes eager TensorFlow forget its kernels, which then are made anew for every network.

    Keras draws by operators that are told their seed as a value: a kernel that stays gives the same numbers.
    """
    from tensorflow.python.eager import context

    context.pywrap_tfe.TFE_ContextClearCaches = lambda handle: None


def _protocols() -> None:
    """Python 3.11 lists what a protocol asks for whenever a value is held against it; TensorFlow does so with each."""
    for name in ("_get_protocol_attrs", "_is_callable_members_only"):
        if hasattr(typing, name):
            setattr(typing, name, functools.cache(getattr(typing, name)))


def _signatures() -> None:
    """Keras reads the signatures of the same functions for each layer that it makes."""
    inspect.signature, inspect.getfullargspec = _kept(inspect.signature), _kept(inspect.getfullargspec)


def _kept(read: Callable[..., Any]) -> Callable[..., Any]:
    """What is read of a function or a method, kept as long as that is there."""
    kept = weakref.WeakKeyDictionary[FunctionType, dict[bool, Any]]()

    def read_once(called: Callable[..., Any], **options: Any) -> Any:
        function = getattr(called, "__func__", called)
        if options or not isinstance(function, FunctionType):
            return read(called, **options)
        known, bound = kept.setdefault(function, {}), function is not called
        if bound not in known:
            known[bound] = read(called)
        return known[bound]

    return read_once


def _attributes() -> None:
    """Keras and TensorFlow look whatever a layer is given for an attribute up in it, and whether it is to be tracked.

    A name that the class knows is left to them: it may stand for a property.
    """
    from keras import Layer, Variable, metrics, random
    from tensorflow.python.trackable import base, data_structures

    tracked = (Variable, Layer, metrics.Metric, random.SeedGenerator, base.Trackable, data_structures.NoDependency)
    kinds, assign = (*tracked, tuple, list, dict, set), Layer.__setattr__

    def set_attribute(layer: Any, name: str, value: Any) -> None:
        if isinstance(value, kinds) or "_tracker" not in layer.__dict__ or hasattr(type(layer), name):
            assign(layer, name, value)
        else:
            object.__setattr__(layer, name, value)

    Layer.__setattr__ = set_attribute


def _saved_attributes() -> None:
    """Keras makes a layer to see what every layer has, for each that it loads: it looks for what it noted elsewhere."""
    from keras.src.saving import saving_lib

    saving_lib.get_attr_skipset = functools.cache(saving_lib.get_attr_skipset)


def _stacks() -> None:
    """Each operation of a graph notes the calls that led to it, which are many in a test; errors are told without."""
    from tensorflow.python.util import tf_stack

    stack = tf_stack.extract_stack()
    tf_stack.extract_stack = lambda stacklevel=1: stack


def _saved_models() -> None:
    """TensorFlow's converter loads what it has saved on its way, and asks it for nothing."""
    from tensorflow.lite.python import lite

    load, saved = lite._load, lite.TFLiteFrozenGraphConverterV2._convert_concrete_functions_to_saved_model

    def unread(*args: Any) -> Any:
        lite._load = lambda *args: None
        try:
            return saved(*args)
        finally:
            lite._load = load

    lite.TFLiteFrozenGraphConverterV2._convert_concrete_functions_to_saved_model = unread


def _tables() -> None:
    """TensorFlow's converter reads each file that it makes three times over, by tables that search for every field."""
    from tensorflow.lite.python import schema_py_generated

    from tflite_export import tables

    schema_py_generated.flatbuffers = tables.generated().flatbuffers
