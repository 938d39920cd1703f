"""How the records of this package are kept as JSON: one schema, which follows their types."""

from __future__ import annotations

from math import isfinite, nan
from typing import TYPE_CHECKING, Any

from restnet_tf.records import Plan, Reason
from tflite_export.schema import Schema, record_hook

if TYPE_CHECKING:
    from cattrs import Converter


def _adapt(converter: Converter) -> None:
    from cattrs import override
    from cattrs.gen import make_dict_unstructure_fn

    from_object = record_hook(converter, Reason)
    as_object = make_dict_unstructure_fn(Reason, converter, _cattrs_omit_if_default=True)

    def reason(value: Any, _: Any) -> Reason | None:
        """Of a person's own words a note, of an empty string nothing."""
        if isinstance(value, str):
            return Reason.note(value) if value else None
        return None if value is None else from_object(value, Reason)

    converter.register_structure_hook_func(lambda kind: kind == Reason or kind == Reason | None, reason)
    converter.register_unstructure_hook(Reason, lambda value: value.text if value.code == "note" else as_object(value))
    # JSON has no NaN.
    number = override(struct_hook=lambda value, _: nan if value is None else converter.structure(value, float))
    converter.register_structure_hook(Plan, record_hook(converter, Plan, cka=number, r2=number))
    finite = override(unstruct_hook=lambda value: value if value is not None and isfinite(value) else None)
    converter.register_unstructure_hook(
        Plan, make_dict_unstructure_fn(Plan, converter, cka=finite, r2=finite, kl=finite)
    )


SCHEMA = Schema(_adapt)
