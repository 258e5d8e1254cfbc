"""A method of another distribution, as small as one can be: what CONTRIBUTING.md walks through."""

from hf_zsar.methods import MethodSpec


SPEC = MethodSpec(
    name="toy",
    prefix="Toy",
    modules=("toy_method.configuration_toy", "toy_method.modeling_toy", "toy_method.processing_toy"),
    card="toy_method:card.yaml",
    tiny="toy_method.tiny:TINY",
)
