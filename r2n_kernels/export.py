"""`from r2n_kernels.export import drop_unused` gets what torch.export leaves to be done."""

from __future__ import annotations

from torch.export import ExportedProgram


def drop_unused(program: ExportedProgram) -> None:
    """Take parameters and buffers that no operation reads out of a program, in place.

    A model's graph reads folded weights, but torch.export keeps all that the module owns, so that
    the saved file would hold the weights twice. ONNX and AOTInductor leave them out by themselves.
    """
    signature = program.graph_signature
    owned = {
        spec.arg.name: spec.target
        for spec in signature.input_specs
        if spec.target in program.state_dict
    }
    unread = {
        node.name: node
        for node in program.graph.find_nodes(op="placeholder")
        if node.name in owned and not node.users
    }
    for name, node in unread.items():
        program.graph.erase_node(node)
        del program.state_dict[owned[name]]
    signature.input_specs = [s for s in signature.input_specs if s.arg.name not in unread]
    program.graph_module.recompile()
