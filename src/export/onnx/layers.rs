//! The layers of a stem, and the read-out, as ONNX operators.

use super::Activity;
use super::column;
use super::graph::{Attribute, Graph};
use crate::error::{Error, Result};
use crate::model::{Layer, Operation, Shape};

/// Adds layer `i` of the network; returns its output.
///
/// # Errors
/// `Usage` naming a layer that does not say what it computes.
pub fn add(graph: &mut Graph, i: usize, layer: &dyn Layer, x: Activity) -> Result<Activity> {
    let prefix = format!("{i}.{}", layer.name());
    let array = |tensor: &str| format!("{prefix}.{tensor}");
    let (shape, flat) = (layer.output(), x.flat);
    let map = |graph: &mut Graph| as_map(graph, &x);
    let done = |name: String, flat: bool| Ok(Activity { name, shape, flat });
    match layer.operation() {
        Some(Operation::Identity) => done(x.name, flat),
        Some(Operation::Relu) => done(graph.node("Relu", &[&x.name], &[]), flat),
        Some(Operation::Conv) => {
            let x = map(graph);
            let (weight, bias) = (graph.array(&array("weight"))?, graph.array(&array("bias"))?);
            let side = kernel_side(layer);
            done(conv(graph, &[&x, &weight, &bias], side, 1), false)
        }
        Some(Operation::Dense) => {
            let x = as_flat(graph, &x);
            let (weight, bias) = (graph.array(&array("weight"))?, graph.array(&array("bias"))?);
            done(gemm(graph, &[&x, &weight, &bias]), true)
        }
        Some(Operation::MaxPool { side }) => {
            let (x, sides) = (map(graph), [side as i64; 2]);
            let windows = [("kernel_shape", Attribute::Ints(&sides)), ("strides", Attribute::Ints(&sides))];
            done(graph.node("MaxPool", &[&x], &windows), false)
        }
        Some(Operation::LateralInhibition) => {
            let x = map(graph);
            let strength = graph.array_as(&array("strength"), &[1, shape.c, 1, 1])?;
            done(lateral_inhibition(graph, &x, &strength, shape), false)
        }
        Some(Operation::ChannelAttention) => {
            let x = map(graph);
            done(channel_attention(graph, &x, &array)?, false)
        }
        Some(Operation::SpatialAttention) => {
            let (x, side) = (map(graph), kernel_side(layer));
            let filter = graph.array_as(&array("filter"), &[1, 2, side, side])?;
            let bias = graph.array(&array("bias"))?;
            done(spatial_attention(graph, &x, &filter, &bias, side), false)
        }
        Some(Operation::BatchNorm { eps }) => {
            let mut inputs = vec![x.name.clone()];
            for tensor in ["gain", "bias", "mean", "var"] {
                inputs.push(graph.array(&array(tensor))?);
            }
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            done(graph.node("BatchNormalization", &inputs, &[("epsilon", Attribute::Float(eps))]), flat)
        }
        Some(Operation::Column(column)) => {
            let x = as_flat(graph, &x);
            let tensors = layer.tensors();
            done(column::add(graph, column, &|t: usize| array(&tensors[t].name), &x)?, true)
        }
        None => Err(Error::usage(
            format!("layer {prefix} has no translation to ONNX"),
            "use another format, or train with a stem of other layers",
        )),
    }
}

/// Side of the filters of a layer: the last of its first tensor.
fn kernel_side(layer: &dyn Layer) -> usize {
    layer.tensors().first().and_then(|t| t.shape.last().copied()).unwrap_or(1)
}

/// The value as `(N, C, H, W)`.
fn as_map(graph: &mut Graph, x: &Activity) -> String {
    if !x.flat {
        return x.name.clone();
    }
    let sides = graph.integers(&[-1, x.shape.c as i64, x.shape.h as i64, x.shape.w as i64]);
    graph.node("Reshape", &[&x.name, &sides], &[])
}

/// The value as `(N, neurons)`.
fn as_flat(graph: &mut Graph, x: &Activity) -> String {
    if x.flat { x.name.clone() } else { graph.node("Flatten", &[&x.name], &[("axis", Attribute::Int(1))]) }
}

/// `y = x Wᵀ`, or `y = x Wᵀ + b` with a third input; `x (N, N_pre)`, `W (N_post, N_pre)`, `b (N_post)` or `(N, N_post)`.
pub fn gemm(graph: &mut Graph, inputs: &[&str]) -> String {
    graph.node("Gemm", inputs, &[("transB", Attribute::Int(1))])
}

/// Convolution of stride 1 that keeps the size.
fn conv(graph: &mut Graph, inputs: &[&str], side: usize, group: usize) -> String {
    let (pad, side) = ((side / 2) as i64, side as i64);
    let attributes = [
        ("kernel_shape", Attribute::Ints(&[side, side])),
        ("pads", Attribute::Ints(&[pad; 4])),
        ("group", Attribute::Int(group as i64)),
    ];
    graph.node("Conv", inputs, &attributes)
}

/// `y = x - strength_c * mean of the 8 neighbours`; `strength (1, C, 1, 1)`.
fn lateral_inhibition(graph: &mut Graph, x: &str, strength: &str, shape: Shape) -> String {
    let mut neighbours = [1.0 / 8.0; 9];
    neighbours[4] = 0.0;
    let filters = graph.floats(&[shape.c, 1, 3, 3], &neighbours.repeat(shape.c));
    let surround = conv(graph, &[x, &filters], 3, shape.c);
    let share = graph.node("Mul", &[&surround, strength], &[]);
    graph.node("Sub", &[x, &share], &[])
}

/// `y = x * sigmoid(MLP(mean of each map) + MLP(maximum of each map))`.
fn channel_attention(graph: &mut Graph, x: &str, array: &dyn Fn(&str) -> String) -> Result<String> {
    let mut names = Vec::new();
    for tensor in ["squeeze", "squeeze_bias", "excite", "excite_bias"] {
        names.push(graph.array(&array(tensor))?);
    }
    let both = ["ReduceMean", "ReduceMax"].map(|pool| {
        let pixels = [("axes", Attribute::Ints(&[2, 3])), ("keepdims", Attribute::Int(0))];
        let pooled = graph.node(pool, &[x], &pixels);
        let hidden = gemm(graph, &[&pooled, &names[0], &names[1]]);
        let hidden = graph.node("Relu", &[&hidden], &[]);
        gemm(graph, &[&hidden, &names[2], &names[3]])
    });
    let sum = graph.node("Add", &[&both[0], &both[1]], &[]);
    let gate = graph.node("Sigmoid", &[&sum], &[]);
    let axes = graph.integers(&[2, 3]);
    let gate = graph.node("Unsqueeze", &[&gate, &axes], &[]);
    Ok(graph.node("Mul", &[x, &gate], &[]))
}

/// `y = x * sigmoid(conv([mean over maps, maximum over maps]) + bias)`; `filter (1, 2, K, K)`.
fn spatial_attention(graph: &mut Graph, x: &str, filter: &str, bias: &str, side: usize) -> String {
    let pools = ["ReduceMean", "ReduceMax"].map(|pool| {
        let maps = [("axes", Attribute::Ints(&[1])), ("keepdims", Attribute::Int(1))];
        graph.node(pool, &[x], &maps)
    });
    let pools = graph.node("Concat", &[&pools[0], &pools[1]], &[("axis", Attribute::Int(1))]);
    let sum = conv(graph, &[&pools, filter, bias], side, 1);
    let gate = graph.node("Sigmoid", &[&sum], &[]);
    graph.node("Mul", &[x, &gate], &[])
}
