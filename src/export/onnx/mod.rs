//! ONNX: the network in evaluation as a graph, opset 17, as onnxruntime runs it.
//!
//! Input `image` `(N, 1, 48, 48)`, 32-bit floats: the grey levels 0 to 255 of faces of 48x48 pixels, as they are; the
//! division by 255 and the standardisation of the run are part of the graph. Outputs `logits` and `probabilities`
//! `(N, classes)`, classes in the order of the metadata. Constants are called as the arrays of the other formats. ONNX
//! has no operator for a sparse product: sparse arrays are filled up with zeros.

mod column;
mod graph;
mod layers;
mod protobuf;

use super::{Contents, Files};
use crate::data::{EXPRESSIONS, MIN_SD, SIDE, Standardize};
use crate::error::Result;
use crate::model::Shape;
use graph::{Attribute, Graph, Side};

/// The row of `EXPORTERS`.
pub const DOC: &str = "one file, opset 17; input `image` (N, 1, 48, 48), grey levels 0 to 255, standardised inside; \
                       outputs `logits` and `probabilities` (N, classes); sparse arrays filled up with zeros";

/// Activity between two layers.
struct Activity {
    /// Name of the value.
    name: String,
    /// Shape for one image.
    shape: Shape,
    /// True if the value is `(N, neurons)`, false if it is `(N, C, H, W)`.
    flat: bool,
}

/// The file.
///
/// # Errors
/// `Usage` naming a layer that has no translation.
pub fn write(contents: &Contents) -> Result<Files> {
    let mut graph = Graph::new(contents);
    let shape = contents.trained.network.input();
    graph.input("image", &[Side::Batch, Side::Fixed(shape.c), Side::Fixed(SIDE), Side::Fixed(SIDE)]);
    let name = standardised(&mut graph, contents.trained.standardize);
    let mut x = Activity { name, shape, flat: false };
    for (i, layer) in contents.trained.network.layers().iter().enumerate() {
        x = layers::add(&mut graph, i, layer.as_ref(), x)?;
    }
    graph.node_to("logits", "Identity", &[&x.name], &[]);
    graph.node_to("probabilities", "Softmax", &["logits"], &[("axis", Attribute::Int(1))]);
    for name in ["logits", "probabilities"] {
        graph.output(name, &[Side::Batch, Side::Fixed(EXPRESSIONS.len())]);
    }
    Ok(Files::One(graph.finish()?))
}

/// The input of the network from `image`, by the formulas of [`Standardize`]. That of the image itself is computed in grey
/// levels, whose sum is exact in 32 bits: a blank image gives zeros and not the rounding errors of its mean.
fn standardised(graph: &mut Graph, standardize: Standardize) -> String {
    let (mean, sd) = match standardize {
        Standardize::None => (graph.floats(&[], &[0.0]), graph.floats(&[], &[255.0])),
        Standardize::Dataset { mean, sd } => {
            (graph.floats(&[], &[255.0 * mean]), graph.floats(&[], &[255.0 * sd.max(MIN_SD)]))
        }
        Standardize::Image => {
            let pixels = [("axes", Attribute::Ints(&[1, 2, 3])), ("keepdims", Attribute::Int(1))];
            let mean = graph.node("ReduceMean", &["image"], &pixels);
            let centred = graph.node("Sub", &["image", &mean], &[]);
            let squares = graph.node("Mul", &[&centred, &centred], &[]);
            let variance = graph.node("ReduceMean", &[&squares], &pixels);
            let sd = graph.node("Sqrt", &[&variance], &[]);
            let least = graph.floats(&[], &[255.0 * MIN_SD]);
            (mean, graph.node("Max", &[&sd, &least], &[]))
        }
    };
    let centred = graph.node("Sub", &["image", &mean], &[]);
    graph.node("Div", &[&centred, &sd], &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Backward, Layer, Network, Pass, presets};
    use crate::train::Trained;

    #[derive(Clone)]
    struct Silent;

    impl Layer for Silent {
        fn name(&self) -> &'static str {
            "silent"
        }
        fn output(&self) -> Shape {
            Shape::flat(1)
        }
        fn replicate(&self) -> Box<dyn Layer> {
            Box::new(self.clone())
        }
        fn forward(&mut self, _: &Pass, _: &[f32], _: &[f32], _: &[f32], _: &mut [f32]) {}
        fn backward_part(&mut self, _: &Pass, _: Backward) {}
    }

    #[test]
    fn a_layer_without_translation_is_named() {
        let trained = Trained {
            config: presets::preset("baseline").unwrap(),
            network: Network::new(Shape { c: 1, h: SIDE, w: SIDE }, vec![Box::new(Silent)]),
            connectome: None,
            epoch: 1,
            finished: 1,
            weights: Vec::new(),
            buffers: Vec::new(),
            standardize: Standardize::None,
            data_fingerprint: 0,
        };
        let error = write(&Contents::of(&trained)).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("layer 0.silent"), "{error}");
    }
}
