//! Shapes, tensors and layer parameters: what a layer tells about itself.

use crate::error::{Error, Result};
use crate::rng::Rng;
use std::ops::Range;
use toml::{Table, Value};

/// Shape of one image's activity: channels, height, width. A flat population of N neurons is `(N, 1, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Channels, or neurons of a flat population.
    pub c: usize,
    /// Height in units.
    pub h: usize,
    /// Width in units.
    pub w: usize,
}

impl Shape {
    /// A flat population.
    pub fn flat(n: usize) -> Self {
        Self { c: n, h: 1, w: 1 }
    }

    /// Neurons in all: `C * H * W`.
    pub fn n(&self) -> usize {
        self.c * self.h * self.w
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.h == 1 && self.w == 1 { write!(f, "{}", self.c) } else { write!(f, "{}x{}x{}", self.c, self.h, self.w) }
    }
}

/// What a tensor is for; decides about weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Strengths: decayed where weight decay is on.
    Weight,
    /// Biases, gains, norms and other strengths that are never decayed.
    Plain,
}

/// Which values a tensor may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Any.
    Free,
    /// Never below zero (Dale's law: a magnitude whose sign belongs to the presynaptic neuron).
    NonNegative,
}

/// How a tensor starts; one that is never below zero with the absolute values.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// All the same.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Normal with a standard deviation for each row of a CSR-ordered tensor: `sd[row]`, rows cut at `row_starts`.
    NormalRows {
        /// Standard deviation per row `(N_post)`.
        sd: Vec<f32>,
        /// Start of each row `(N_post + 1)`.
        row_starts: Vec<u32>,
    },
}

/// A tensor of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Name within the layer, e.g. `weight` or `L4->L2/3`.
    pub name: String,
    /// Shape, outermost first; `[S]` for values at the synapses of a mask.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// Which values it may take.
    pub sign: Sign,
    /// How it starts.
    pub init: Init,
}

impl TensorSpec {
    /// A free tensor.
    pub fn new(name: impl Into<String>, shape: &[usize], role: Role, init: Init) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), role, sign: Sign::Free, init }
    }

    /// The same, never below zero.
    #[must_use]
    pub fn non_negative(mut self) -> Self {
        self.sign = Sign::NonNegative;
        self
    }

    /// Fills `values`, as many as the tensor has, with the first ones, from the stream.
    pub fn draw(&self, rng: &mut Rng, values: &mut [f32]) {
        match &self.init {
            Init::Constant(c) => values.fill(*c),
            Init::Normal(sd) => values.iter_mut().for_each(|v| *v = sd * rng.normal()),
            Init::NormalRows { sd, row_starts } => {
                for (sd, row) in sd.iter().zip(row_starts.windows(2)) {
                    for v in &mut values[row[0] as usize..row[1] as usize] {
                        *v = sd * rng.normal();
                    }
                }
            }
        }
        if self.sign == Sign::NonNegative {
            values.iter_mut().for_each(|v| *v = v.abs());
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Floats to which every tensor is aligned: one cache line.
pub const ALIGN: usize = 16;

/// Where each tensor lies in the slice of its layer, in floats; each starts at a multiple of [`ALIGN`].
pub fn tensor_ranges(tensors: &[TensorSpec]) -> Vec<Range<usize>> {
    let mut start = 0;
    tensors
        .iter()
        .map(|t| {
            let range = start..start + t.len();
            start = range.end.next_multiple_of(ALIGN);
            range
        })
        .collect()
}

/// Length of the slice that holds `tensors`, a multiple of [`ALIGN`].
pub fn tensors_len(tensors: &[TensorSpec]) -> usize {
    tensor_ranges(tensors).last().map_or(0, |r| r.end.next_multiple_of(ALIGN))
}

/// The parameters of one stem entry, taken one by one; what is left over is an error.
pub struct Params {
    layer: String,
    table: Table,
    bf16: bool,
    twins: u64,
}

impl Params {
    /// The entry without its `layer` key.
    ///
    /// # Errors
    /// `Usage` if the entry has no `layer = "name"`.
    pub fn new(mut table: Table) -> Result<Self> {
        match table.remove("layer") {
            Some(Value::String(layer)) => Ok(Self { layer, table, bf16: false, twins: 0 }),
            _ => Err(Error::usage("stem: an entry has no `layer = \"name\"`", "see `train --print-config`")),
        }
    }

    /// Name of the layer.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// With products of factors rounded to bf16 in training where a layer can, see `precision` of the configuration.
    pub fn with_bf16(self, bf16: bool) -> Self {
        Self { bf16, ..self }
    }

    /// What [`Params::with_bf16`] said; at first, no.
    pub fn bf16(&self) -> bool {
        self.bf16
    }

    /// Behind so many layers of the same kind whose output has the shape of this one's input.
    pub fn with_twins(self, twins: usize) -> Self {
        Self { twins: twins as u64, ..self }
    }

    /// What [`Params::with_twins`] said; at first, none. It tells the random streams of such layers apart.
    pub fn twins(&self) -> u64 {
        self.twins
    }

    /// Takes an integer of at least 1.
    ///
    /// # Errors
    /// `Usage` if it is there but no such integer.
    pub fn size(&mut self, key: &str, default: usize) -> Result<usize> {
        match self.table.remove(key) {
            None => Ok(default),
            Some(Value::Integer(i)) if (1..=1 << 20).contains(&i) => Ok(i as usize),
            Some(v) => Err(self.wrong(key, &v, "an integer from 1 to 1048576")),
        }
    }

    /// Takes a number.
    ///
    /// # Errors
    /// `Usage` if it is there but not a number that is finite as an f32.
    pub fn number(&mut self, key: &str, default: f32) -> Result<f32> {
        match self.table.remove(key) {
            None => Ok(default),
            Some(Value::Integer(i)) => Ok(i as f32),
            Some(Value::Float(f)) if (f as f32).is_finite() => Ok(f as f32),
            Some(v) => Err(self.wrong(key, &v, "a number within 3.4e38 of 0")),
        }
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// `Usage` if a key is left that the layer does not know.
    pub fn finish(&self) -> Result<()> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => Err(Error::usage(
                format!("stem: layer \"{}\" has no parameter `{key}`", self.layer),
                "see the list of layers in `train --help`",
            )),
        }
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> Error {
        Error::usage(
            format!("stem: {}.{key} = {value}: expected {expected}", self.layer),
            "mend the stem in the configuration",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1e300 is finite, but not as an f32.
    #[test]
    fn a_number_that_is_none_or_infinite_is_refused() {
        let number = |value: Value| {
            let table = [("layer".to_owned(), "lateral_inhibition".into()), ("strength".to_owned(), value)];
            Params::new(table.into_iter().collect()).unwrap().number("strength", 0.2)
        };
        for value in [1e300, -1e300, 3.5e38, f64::INFINITY, f64::NAN] {
            let error = number(value.into()).unwrap_err();
            let part = "stem: lateral_inhibition.strength";
            assert!(error.exit_code() == 2 && error.to_string().contains(part), "{error}");
        }
        assert!(number("0.2".into()).is_err());
        assert_eq!(number(3.4e38.into()).unwrap(), 3.4e38);
        assert_eq!(number(2.into()).unwrap(), 2.0);
    }
}
