//! An ONNX graph in the making: nodes and constants. Field numbers are those of `onnx.proto`.

use super::super::{Array, Contents, Layout};
use super::protobuf::Message;
use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// Version of the file format that goes with [`OPSET`].
const IR_VERSION: i64 = 8;
/// Version of the operators.
const OPSET: i64 = 17;
/// Types of elements.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// An attribute of a node.
pub enum Attribute<'a> {
    Int(i64),
    Float(f32),
    Ints(&'a [i64]),
}

/// A side of an input or output.
pub enum Side {
    /// The images of a batch.
    Batch,
    Fixed(usize),
}

/// The graph. Values are known by name.
pub struct Graph<'a> {
    contents: &'a Contents<'a>,
    message: Message,
    /// Constants written so far.
    constants: BTreeSet<String>,
    next: usize,
}

impl<'a> Graph<'a> {
    pub fn new(contents: &'a Contents<'a>) -> Self {
        Self { contents, message: Message::default(), constants: BTreeSet::new(), next: 0 }
    }

    /// Adds an operator of one output; returns the output's name.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let output = self.fresh();
        self.node_to(&output, op, inputs, attributes);
        output
    }

    /// Adds an operator whose output is called `output`.
    pub fn node_to(&mut self, output: &str, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) {
        let mut node = inputs.iter().fold(Message::default(), |node, input| node.bytes(1, input));
        node = node.bytes(2, output).bytes(3, format!("{op}:{output}")).bytes(4, op);
        for (name, value) in attributes {
            let attribute = Message::default().bytes(1, name);
            let attribute = match *value {
                Attribute::Float(v) => attribute.float(2, v).int(20, 1),
                Attribute::Int(v) => attribute.int(3, v).int(20, 2),
                Attribute::Ints(v) => attribute.ints(8, v).int(20, 7),
            };
            node = node.message(5, &attribute);
        }
        self.add(1, &node);
    }

    /// The array `name` of the network as a constant of the same name, a sparse one filled up with zeros.
    ///
    /// # Errors
    /// `Other` if the network has no such array.
    pub fn array(&mut self, name: &str) -> Result<String> {
        let shape = self.find(name)?.shape();
        self.array_as(name, &shape)
    }

    /// [`Graph::array`] with another shape of as many values.
    ///
    /// # Errors
    /// As [`Graph::array`].
    pub fn array_as(&mut self, name: &str, shape: &[usize]) -> Result<String> {
        if self.constants.insert(name.to_owned()) {
            let values = filled(&self.find(name)?);
            self.constant_named(name, shape, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect());
        }
        Ok(name.to_owned())
    }

    /// A constant of floats; `shape` empty = a single value.
    pub fn floats(&mut self, shape: &[usize], values: &[f32]) -> String {
        let name = self.fresh();
        self.constant_named(&name, shape, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect());
        name
    }

    /// A constant vector of integers: axes, a shape.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let name = self.fresh();
        self.constant_named(&name, &[values.len()], INT64, values.iter().flat_map(|v| v.to_le_bytes()).collect());
        name
    }

    /// Declares an input of the graph.
    pub fn input(&mut self, name: &str, shape: &[Side]) {
        self.add(11, &value_info(name, shape));
    }

    /// Declares an output of the graph.
    pub fn output(&mut self, name: &str, shape: &[Side]) {
        self.add(12, &value_info(name, shape));
    }

    /// The whole file.
    ///
    /// # Errors
    /// `Other` if the metadata do not serialise; `Usage` if it passes the 2 GiB of the format.
    pub fn finish(self) -> Result<Vec<u8>> {
        let graph = self.message.bytes(2, "bionic-cpu");
        let opset = Message::default().bytes(1, "").int(2, OPSET);
        let mut model = Message::default()
            .int(1, IR_VERSION)
            .bytes(2, "bionic-cpu")
            .bytes(3, env!("CARGO_PKG_VERSION"))
            .message(7, &graph)
            .message(8, &opset);
        for (key, value) in self.contents.metadata_texts()? {
            model = model.message(14, &Message::default().bytes(1, key).bytes(2, value));
        }
        if i32::try_from(model.0.len()).is_err() {
            return Err(Error::usage(
                format!("the filled-up weights take {} bytes, more than the 2 GiB of an ONNX file", model.0.len()),
                "use --to safetensors, which keeps them sparse",
            ));
        }
        Ok(model.0)
    }

    fn find(&self, name: &str) -> Result<Array<'a>> {
        let found = self.contents.arrays.iter().find(|a| a.name == name).copied();
        found.ok_or_else(|| Error::other(format!("the network has no array `{name}`"), "report this as a bug"))
    }

    fn constant_named(&mut self, name: &str, shape: &[usize], kind: i64, data: Vec<u8>) {
        let sides: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let tensor = Message::default().ints(1, &sides).int(2, kind).bytes(8, name).bytes(9, data);
        self.add(5, &tensor);
    }

    fn add(&mut self, field: u32, message: &Message) {
        self.message = std::mem::take(&mut self.message).message(field, message);
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        format!("v{}", self.next)
    }
}

/// All values of an array, row-major, zeros where it has none.
fn filled(array: &Array) -> Vec<f32> {
    match array.layout {
        Layout::Dense(_) => array.values.to_vec(),
        Layout::Sparse(synapses) => {
            let mut all = vec![0.0; synapses.n_post() * synapses.n_pre()];
            for ((post, pre, _), &value) in synapses.iter().zip(array.values) {
                all[post * synapses.n_pre() + pre] = value;
            }
            all
        }
    }
}

fn value_info(name: &str, shape: &[Side]) -> Message {
    let sides = shape.iter().fold(Message::default(), |sides, side| {
        let side = match side {
            Side::Batch => Message::default().bytes(2, "N"),
            Side::Fixed(n) => Message::default().int(1, *n as i64),
        };
        sides.message(1, &side)
    });
    let tensor = Message::default().int(1, FLOAT).message(2, &sides);
    Message::default().bytes(1, name).message(2, &Message::default().message(1, &tensor))
}
