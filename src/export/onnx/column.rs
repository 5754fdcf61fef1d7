//! The cortical column as ONNX operators: the formulas of `model::column`, one population after another.

use super::graph::{Attribute, Graph};
use super::layers::gemm;
use crate::error::Result;
use crate::model::column::{Column, Inhibition, Interneurons, LAYER_NORM_EPSILON, Population, Projection, Source};

/// Activity that a projection may come from: the features, and the populations so far.
struct Sources<'a> {
    features: &'a str,
    populations: Vec<String>,
}

impl Sources<'_> {
    fn activity(&self, source: Source) -> &str {
        match source {
            Source::Input => self.features,
            Source::Population(k) => &self.populations[k],
        }
    }
}

/// Adds the column over `features (N, N_features)`; `array` names the array of each of its tensors. Returns the activity
/// that the read-out sees.
///
/// # Errors
/// `Other` if an array is missing.
pub fn add(graph: &mut Graph, column: &Column, array: &dyn Fn(usize) -> String, features: &str) -> Result<String> {
    let mut sources = Sources { features, populations: Vec::new() };
    for p in column.populations() {
        let y = population(graph, p, array, &sources)?;
        sources.populations.push(y);
    }
    let seen: Vec<&str> = column.readout().iter().map(|&k| sources.populations[k].as_str()).collect();
    Ok(match seen[..] {
        [one] => one.to_owned(),
        _ => graph.node("Concat", &seen, &[("axis", Attribute::Int(1))]),
    })
}

fn population(graph: &mut Graph, p: &Population, array: &dyn Fn(usize) -> String, sources: &Sources) -> Result<String> {
    let mut u = None;
    for projection in &p.excitatory {
        u = Some(project(graph, projection, array, sources.activity(projection.source), u)?);
    }
    let mut u = u.unwrap_or_else(|| graph.floats(&[1, p.n], &vec![0.0; p.n]));
    let bias = graph.array(&array(p.bias))?;
    if !matches!(p.inhibition, Inhibition::Interneurons(_)) {
        u = graph.node("Add", &[&u, &bias], &[]);
    }
    let first_response = graph.node("Relu", &[&u], &[]);
    if let Some(intra) = &p.intra {
        u = project(graph, intra, array, &first_response, Some(u))?;
    }
    let v = match &p.inhibition {
        Inhibition::None => u,
        Inhibition::Graded { dose, gamma, tensor } => {
            let gamma = match tensor {
                Some(t) => graph.array(&array(*t))?,
                None => graph.floats(&[1], &[*gamma]),
            };
            graded(graph, &u, dose, &gamma)
        }
        Inhibition::Interneurons(cells) => {
            let s = inhibition(graph, cells, array, sources, &first_response)?;
            shunted(graph, cells, array, &u, &s, &bias)?
        }
    };
    let v = match p.norm {
        None => v,
        Some(norm) => {
            let (gain, bias) = (graph.array(&array(norm.gain))?, graph.array(&array(norm.bias))?);
            let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(LAYER_NORM_EPSILON))];
            graph.node("LayerNormalization", &[&v, &gain, &bias], &attributes)
        }
    };
    Ok(graph.node("Relu", &[&v], &[]))
}

/// `W x`, added to `sum` where there is one.
fn project(
    graph: &mut Graph,
    p: &Projection,
    array: &dyn Fn(usize) -> String,
    x: &str,
    sum: Option<String>,
) -> Result<String> {
    let weight = graph.array(&array(p.tensor))?;
    Ok(match sum {
        None => gemm(graph, &[x, &weight]),
        Some(sum) => gemm(graph, &[x, &weight, &sum]),
    })
}

/// `v = u (1 - gamma n)`; `dose n (N)`, `gamma (1)`.
fn graded(graph: &mut Graph, u: &str, dose: &[f32], gamma: &str) -> String {
    let (dose, one) = (graph.floats(&[dose.len()], dose), graph.floats(&[1], &[1.0]));
    let share = graph.node("Mul", &[&dose, gamma], &[]);
    let factor = graph.node("Sub", &[&one, &share], &[]);
    graph.node("Mul", &[u, &factor], &[])
}

/// `s = W_EI h` with `h` the summed input of the interneurons.
fn inhibition(
    graph: &mut Graph,
    cells: &Interneurons,
    array: &dyn Fn(usize) -> String,
    sources: &Sources,
    first_response: &str,
) -> Result<String> {
    let mut h = None;
    for p in &cells.afferents {
        h = Some(project(graph, p, array, sources.activity(p.source), h)?);
    }
    if let Some(p) = &cells.from_lamina {
        h = Some(project(graph, p, array, first_response, h)?);
    }
    let h = h.unwrap_or_else(|| graph.floats(&[1, cells.n], &vec![0.0; cells.n]));
    project(graph, &cells.efferent, array, &h, None)
}

/// `v = g (u - s) / (exp(alpha) s + floor) + b`.
fn shunted(
    graph: &mut Graph,
    cells: &Interneurons,
    array: &dyn Fn(usize) -> String,
    u: &str,
    s: &str,
    bias: &str,
) -> Result<String> {
    let (gain, alpha) = (graph.array(&array(cells.gain))?, graph.array(&array(cells.alpha))?);
    let floor = graph.floats(&[1], &[cells.shunt_floor]);
    let strength = graph.node("Exp", &[&alpha], &[]);
    let shunt = graph.node("Mul", &[&strength, s], &[]);
    let divisor = graph.node("Add", &[&shunt, &floor], &[]);
    let difference = graph.node("Sub", &[u, s], &[]);
    let driven = graph.node("Mul", &[&gain, &difference], &[]);
    let v = graph.node("Div", &[&driven, &divisor], &[]);
    Ok(graph.node("Add", &[&v, bias], &[]))
}
