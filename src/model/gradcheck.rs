//! Checks any layer's `backward` against central finite differences of its `forward` (tests only).
//!
//! The loss is `sum(r * y)` with random `r`, accumulated in f64. A coordinate may lie at a kink (ReLU, max-pooling)
//! or lose its digits to cancellation, so it is compared at several steps and the best one counts; a wrong gradient
//! fits none of them.

use super::{Backward, Init, Layer, Pass, Shape, Sign, TensorSpec, spec, tensor_ranges};
use crate::rng::Rng;

/// Largest accepted difference, relative to the larger of the coordinate's gradient and the tensor's root mean square.
const TOLERANCE: f64 = 1e-2;

/// Steps of the central difference, relative to a unit-sized coordinate.
const STEPS: [f32; 4] = [3e-2, 1e-2, 3e-3, 1e-3];

/// Coordinates compared per tensor.
const SAMPLES: usize = 32;

/// Compares the gradients of every tensor and of `x` with finite differences, in training mode, at random weights
/// and random `x (N_pre, batch)`; checks that `y`, `dx` and `dweights` are overwritten and that leaving `dx` out
/// changes no bit of `dweights`.
///
/// # Panics
/// If a gradient is wrong; the message names the layer, the tensor and the coordinate.
pub fn check(mut layer: Box<dyn Layer>, input: Shape, batch: usize, seed: u64) {
    let mut rng = Rng::stream(seed, "gradcheck", &[batch as u64]);
    let pass = Pass { training: true, batch, slice: 0, seed, step: 3 };
    let (tensors, buffers) = (layer.tensors(), layer.buffers());
    let mut weights = vec![0.0; spec::tensors_len(&tensors)];
    let mut states = vec![0.0; spec::tensors_len(&buffers)];
    for (tensor, range) in tensors.iter().zip(tensor_ranges(&tensors)) {
        weights[range].iter_mut().for_each(|w| *w = draw(tensor, &mut rng));
    }
    for (buffer, range) in buffers.iter().zip(tensor_ranges(&buffers)) {
        let Init::Constant(value) = buffer.init else { panic!("buffer {} does not start constant", buffer.name) };
        states[range].fill(value);
    }
    let mut x: Vec<f32> = (0..input.n() * batch).map(|_| rng.normal()).collect();
    let r: Vec<f32> = (0..layer.output().n() * batch).map(|_| rng.normal()).collect();

    let mut y = vec![f32::NAN; r.len()];
    layer.forward(&pass, &weights, &states, &x, &mut y);
    let mut dx = vec![f32::NAN; x.len()];
    let mut dweights = vec![f32::NAN; weights.len()];
    let back = Backward { weights: &weights, x: &x, y: &y, dy: &r, dx: Some(&mut dx), dweights: &mut dweights };
    layer.backward(&pass, back);

    let mut again = vec![f32::NAN; weights.len()];
    layer.forward(&pass, &weights, &states, &x, &mut y);
    layer.backward(&pass, Backward { weights: &weights, x: &x, y: &y, dy: &r, dx: None, dweights: &mut again });
    let name = layer.name();
    for (tensor, range) in tensors.iter().zip(tensor_ranges(&tensors)) {
        let same = range.clone().all(|i| again[i].to_bits() == dweights[i].to_bits());
        assert!(same, "{name}: the gradient of {} depends on whether dx is asked for", tensor.name);
    }

    let mut loss = |weights: &[f32], x: &[f32]| {
        let mut y = vec![f32::NAN; r.len()];
        layer.forward(&pass, weights, &states, x, &mut y);
        y.iter().zip(&r).map(|(&y, &r)| f64::from(y) * f64::from(r)).sum::<f64>()
    };
    for (tensor, range) in tensors.iter().zip(tensor_ranges(&tensors)) {
        let what = format!("{name}: gradient of {}", tensor.name);
        let start = range.start;
        compare(&what, &dweights[range], &mut rng, |i, step| {
            let value = weights[start + i];
            weights[start + i] = value + step;
            let above = loss(&weights, &x);
            weights[start + i] = value - step;
            let below = loss(&weights, &x);
            weights[start + i] = value;
            (above - below) / (f64::from(value + step) - f64::from(value - step))
        });
    }
    compare(&format!("{name}: dx"), &dx, &mut rng, |i, step| {
        let value = x[i];
        x[i] = value + step;
        let above = loss(&weights, &x);
        x[i] = value - step;
        let below = loss(&weights, &x);
        x[i] = value;
        (above - below) / (f64::from(value + step) - f64::from(value - step))
    });
}

/// Compares sampled coordinates of `gradient` with `difference(i, step)`.
fn compare(what: &str, gradient: &[f32], rng: &mut Rng, mut difference: impl FnMut(usize, f32) -> f64) {
    for (i, g) in gradient.iter().enumerate() {
        assert!(g.is_finite(), "{what}: element {i} is {g}");
    }
    let square: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
    let rms = (square / gradient.len().max(1) as f64).sqrt();
    for sample in 0..gradient.len().min(SAMPLES) {
        let i = if gradient.len() <= SAMPLES { sample } else { rng.below(gradient.len()) };
        let g = f64::from(gradient[i]);
        let mut tried = Vec::new();
        let fits = STEPS.iter().any(|&step| {
            let d = difference(i, step);
            tried.push(d);
            (g - d).abs() <= TOLERANCE * g.abs().max(d.abs()).max(rms) + 1e-6
        });
        assert!(fits, "{what}: element {i} is {g}, finite differences give {tried:?}");
    }
}

/// A random value for a coordinate of `tensor`, spread about its initial value; well above zero where it may not be
/// negative, so that every step stays inside.
fn draw(tensor: &TensorSpec, rng: &mut Rng) -> f32 {
    let (centre, sd) = match &tensor.init {
        Init::Constant(value) => (*value, 0.3),
        Init::Normal(sd) => (0.0, *sd),
        Init::NormalRows { .. } => (0.0, 0.3),
    };
    let value = centre + sd * rng.normal();
    if tensor.sign == Sign::NonNegative { value.abs() + 0.05 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    /// `y = w x^2` per channel, with the gradients of `x` and `w` scaled by `errors`.
    #[derive(Clone)]
    struct Square {
        n: usize,
        errors: [f32; 2],
    }

    impl Layer for Square {
        fn name(&self) -> &'static str {
            "square"
        }

        fn output(&self) -> Shape {
            Shape::flat(self.n)
        }

        fn tensors(&self) -> Vec<TensorSpec> {
            vec![TensorSpec::new("weight", &[self.n], Role::Weight, Init::Normal(1.0))]
        }

        fn replicate(&self) -> Box<dyn Layer> {
            Box::new(self.clone())
        }

        fn forward(&mut self, pass: &Pass, weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
            for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                *y = weights[i / pass.batch] * x * x;
            }
        }

        fn backward_part(&mut self, pass: &Pass, back: Backward) {
            let Backward { weights, x, dy, dx, dweights, .. } = back;
            dweights.fill(0.0);
            for (i, (dy, x)) in dy.iter().zip(x).enumerate() {
                dweights[i / pass.batch] += dy * x * x * self.errors[1];
            }
            for (i, dx) in dx.into_iter().flatten().enumerate() {
                *dx = dy[i] * weights[i / pass.batch] * 2.0 * x[i] * self.errors[0];
            }
        }
    }

    fn square(errors: [f32; 2]) {
        check(Box::new(Square { n: 7, errors }), Shape::flat(7), 5, 1);
    }

    #[test]
    fn right_gradients_pass() {
        square([1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "square: dx: element")]
    fn a_wrong_dx_is_found() {
        square([1.03, 1.0]);
    }

    #[test]
    #[should_panic(expected = "square: gradient of weight: element")]
    fn a_wrong_gradient_of_weights_is_found() {
        square([1.0, 0.97]);
    }
}
