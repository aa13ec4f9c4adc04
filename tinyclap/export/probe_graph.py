"""A model's graph with a linear probe behind it: waveforms to probabilities of the probe's classes."""

import json

import onnx
from onnx import TensorProto, helper, numpy_helper


def write_classifier(graph_path, config, probe, target):
    """Write a graph with the outputs of a model and ``probabilities`` (B, N).

    Of one window the probabilities are those of :meth:`Probe.predict_proba`, which averages the embeddings of the
    windows of longer clips; a device may average probabilities. Classes: the graph's metadata, JSON under ``classes``.

    Arguments
    ---------
    graph_path, config : The model's fp32 graph, and the config of its folder.
    probe : tinyclap.inference.probe.Probe
    target : str or os.PathLike
    """
    model = onnx.load(graph_path)
    names = [output.name for output in model.graph.output]
    nodes, rows = [], "logits" if "logits" in names else "embedding"
    steps = [("Sigmoid", {})] if rows == "logits" else []
    if rows == "embedding" and config["outputs"]["embedding"]["normalise"]:
        steps.append(("LpNormalization", {"axis": -1, "p": 2}))
    if probe.model.score_kind == "sqrt_dot":
        steps += [("Relu", {}), ("Sqrt", {})]
    for kind, options in steps:
        nodes.append(helper.make_node(kind, [rows], [f"probe_{kind}"], **options))
        rows = f"probe_{kind}"
    nodes += [
        helper.make_node("MatMul", [rows, "probe_weights"], ["probe_product"]),
        helper.make_node("Add", ["probe_product", "probe_bias"], ["probe_logits"]),
        helper.make_node("Softmax", ["probe_logits"], ["probabilities"], axis=-1),
    ]
    model.graph.node.extend(nodes)
    weights = {"probe_weights": probe.weights.T.copy(), "probe_bias": probe.bias}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    shape = ["batch", len(probe.classes)]
    model.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape))
    model.metadata_props.add(key="classes", value=json.dumps(probe.classes, ensure_ascii=False))
    onnx.checker.check_model(model)
    onnx.save(model, target)
