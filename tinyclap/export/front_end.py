"""The log-mel front end within an exported graph: its nodes, its constants, and itself as a graph of its own."""

import onnx

from tinyclap.errors import ConfigError
from tinyclap.files import atomic_path


def front_end_nodes(graph):
    """Names of the nodes up to the one logarithm, that of the mel powers, of an ``onnx.GraphProto``: list of str."""
    logarithms = [node for node in graph.node if node.op_type == "Log"]
    if len(logarithms) != 1:
        raise ConfigError(f"the graph has {len(logarithms)} logarithms; the front end should have the only one")
    makers = {name: node for node in graph.node for name in node.output}
    found, waiting = {}, [logarithms[0]]
    while waiting:
        node = waiting.pop()
        if found.setdefault(node.name, node) is node:
            waiting += [makers[name] for name in node.input if name in makers]
    return list(found)


def front_end_weights(path):
    """Names of the constants that the front end of a graph file reads (windows, bases and filters): list of str."""
    graph = onnx.load(str(path)).graph
    nodes, names = set(front_end_nodes(graph)), {weight.name for weight in graph.initializer}
    return sorted({name for node in graph.node if node.name in nodes for name in node.input if name in names})


def write_front_end(source, target):
    """Write the front end of a graph, ``wavs`` → log-mel, as a graph of its own, for engines that are slow at it."""
    model = onnx.load(source)
    names = set(front_end_nodes(model.graph))
    (logarithm,) = (node.output[0] for node in model.graph.node if node.op_type == "Log")
    with atomic_path(target) as part:
        onnx.utils.extract_model(str(source), str(part), ["wavs"], [logarithm])
        if {node.name for node in onnx.load(part).graph.node} != names:
            raise ConfigError(f"{source}: what makes the logarithm needs more than the waveform")
