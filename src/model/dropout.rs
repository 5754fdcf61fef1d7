//! `dropout`: silences units at random in training.

use super::{Backward, Layer, LayerKind, Operation, Params, Pass, Shape};
use crate::error::{Error, Result};
use crate::kernels::threads;
use crate::rng::Rng;

/// The row of `LAYERS`.
pub const KIND: LayerKind = LayerKind { name: "dropout", doc: "silences units at random in training: p (0.2)", build };

/// Elements per piece; each piece has its own random stream.
const PIECE: usize = 16_384;

/// Units decided at a time.
const BLOCK: usize = 256;

/// `y = x / (1 - p)`, or 0 with probability p, in training; `y = x` in evaluation (inverted dropout).
///
/// The units of a step come from the stream `dropout` at the step, the layer's shape, the slice, the piece and, where there
/// are any, the number of such layers of this shape before, so the gradient draws them again instead of keeping them.
#[derive(Clone)]
struct Dropout {
    shape: Shape,
    /// Units out of 65 536 that are silenced.
    dropped: u16,
    /// Such layers of this shape before.
    twins: u64,
}

/// Builds it; `p` (0.2) is the share of silenced units, at least 0 and below 1, kept to 1/65536.
///
/// # Errors
/// `Usage` for an unknown parameter or a share outside that range.
fn build(params: &mut Params, input: Shape) -> Result<Box<dyn Layer>> {
    let p = params.number("p", 0.2)?;
    params.finish()?;
    let dropped = (p * 65_536.0).round();
    if !(0.0..65_536.0).contains(&dropped) {
        return Err(Error::usage(
            format!("stem: dropout.p = {p}: expected a number from 0 to below 1"),
            "mend the stem in the configuration",
        ));
    }
    Ok(Box::new(Dropout { shape: input, dropped: dropped as u16, twins: params.twins() }))
}

impl Dropout {
    /// `y = x` without the silenced units, the others scaled up; `x (N, B)`, `y (N, B)`.
    fn silence(&self, pass: &Pass, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "x and y must be (N, B)");
        if !pass.training || self.dropped == 0 {
            y.copy_from_slice(x);
            return;
        }
        let Shape { c, h, w } = self.shape;
        let kept = 65_536.0 / (65_536.0 - f32::from(self.dropped));
        threads::for_pieces(y, PIECE, 4 * x.len(), |piece, y| {
            let address = [pass.step, c as u64, h as u64, w as u64, pass.slice, piece as u64, self.twins];
            let told = address.len() - usize::from(self.twins == 0);
            let mut rng = Rng::stream(pass.seed, "dropout", &address[..told]);
            // One draw of 64 bits decides for four units; a block is drawn ahead, so that the rest is vector code.
            let mut draws = [0u16; BLOCK];
            for (y, x) in y.chunks_mut(BLOCK).zip(x[piece * PIECE..].chunks(BLOCK)) {
                for four in draws.as_chunks_mut::<4>().0 {
                    let draw = rng.next_u64();
                    *four = [draw as u16, (draw >> 16) as u16, (draw >> 32) as u16, (draw >> 48) as u16];
                }
                for ((y, &x), &draw) in y.iter_mut().zip(x).zip(&draws) {
                    *y = if draw < self.dropped { 0.0 } else { x * kept };
                }
            }
        });
    }
}

impl Layer for Dropout {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::Identity)
    }

    fn forward(&mut self, pass: &Pass, _weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
        self.silence(pass, x, y);
    }

    fn backward_part(&mut self, pass: &Pass, back: Backward) {
        let Backward { dy, dx, .. } = back;
        if let Some(dx) = dx {
            self.silence(pass, dy, dx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_keeps_the_mean_changes_with_the_step_and_rests_in_evaluation() {
        let layer = Dropout { shape: Shape::flat(4000), dropped: (0.2f32 * 65_536.0).round() as u16, twins: 0 };
        let run = |training, step| {
            let mut y = vec![f32::NAN; 4000 * 25];
            layer.silence(&Pass { training, batch: 25, slice: 0, seed: 1, step }, &vec![1.0; y.len()], &mut y);
            y
        };
        let (first, second) = (run(true, 0), run(true, 1));
        let n = first.len() as f64;
        let silent = first.iter().filter(|&&v| v == 0.0).count() as f64 / n;
        let mean = first.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        assert!((silent - 0.2).abs() < 0.01, "{silent}");
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert_eq!(first, run(true, 0));
        let agree = first.iter().zip(&second).filter(|(a, b)| a == b).count() as f64 / n;
        assert!((agree - (0.2 * 0.2 + 0.8 * 0.8)).abs() < 0.02, "steps are not independent: {agree}");
        assert!(run(false, 0).iter().all(|&v| v == 1.0));
    }

    #[test]
    fn layers_of_one_shape_silence_other_units() {
        let mut config = crate::model::presets::preset("baseline").unwrap();
        let half: toml::Table = "layer = \"dropout\"\np = 0.5".parse().unwrap();
        config.stem = vec![half.clone(), half];
        let network = crate::model::Network::build(&config, None).unwrap();
        let (n, pass) = (network.input().n(), Pass { training: true, batch: 1, slice: 0, seed: 1, step: 3 });
        let mut x = vec![1.0; n];
        for layer in &network.layers()[..2] {
            let mut y = vec![f32::NAN; n];
            layer.replicate().forward(&pass, &[], &[], &x, &mut y);
            x = y;
        }
        let silent = x.iter().filter(|&&v| v == 0.0).count() as f64 / n as f64;
        assert!((silent - 0.75).abs() < 0.05, "half of the half that is left: {silent}");
    }

    #[test]
    fn a_share_of_one_or_below_zero_is_refused() {
        for p in [1.0, -0.1, 7.0, 0.999_999] {
            let table = [("layer".into(), "dropout".into()), ("p".into(), toml::Value::from(p))];
            let mut params = Params::new(table.into_iter().collect()).unwrap();
            assert!(build(&mut params, Shape::flat(3)).is_err(), "{p}");
        }
    }
}
