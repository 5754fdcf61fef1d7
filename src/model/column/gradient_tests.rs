//! The gradients of the whole column against finite differences, on a tiny connectome.

use super::tests::*;
use super::*;
use crate::config::{Config, InhibitionKind, InputProjection, NoiseKind};
use crate::connectome::Connectome;
use crate::kernels::threads::pool;
use crate::rng::Rng;

/// Which units are active: the loss is smooth as long as this does not change.
fn active(column: &Column, batch: usize) -> Vec<bool> {
    let units = |p: &Population| [p.first_response(batch), p.output(batch)].concat();
    column.populations.iter().flat_map(units).map(|v| v > 0.0).collect()
}

/// Checks the gradient of every tensor and of `x` against central differences of `Σ r y` with random `r`. A coordinate
/// counts at the steps that switch no unit on or off: the best of them must fit, and few may have none.
fn check_gradients(what: &str, config: &Config, connectome: &Connectome) {
    const STEPS: [f32; 4] = [2e-2, 6e-3, 2e-3, 6e-4];
    const TOLERANCE: f64 = 1e-2;
    let batch = 3;
    let mut column = build(config, connectome, FEATURES).unwrap();
    let mut rng = Rng::stream(7, "column gradients", &[]);
    let pass = pass(true, batch, 5);
    let mut weights = strengths(&column, &mut rng);
    let mut x = features(batch, &mut rng);
    let r: Vec<f32> = (0..column.output().n() * batch).map(|_| rng.normal()).collect();

    let y = run(&mut column, &pass, &weights, &x);
    let centre = active(&column, batch);
    let (mut dx, mut dweights) = (vec![f32::NAN; x.len()], vec![f32::NAN; weights.len()]);
    let back = Backward { weights: &weights, x: &x, y: &y, dy: &r, dx: Some(&mut dx), dweights: &mut dweights };
    column.backward(&pass, back);
    let mut again = vec![f32::NAN; weights.len()];
    assert_eq!(run(&mut column, &pass, &weights, &x), y, "{what}: the same pass has the same noise");
    column.backward(&pass, Backward { weights: &weights, x: &x, y: &y, dy: &r, dx: None, dweights: &mut again });
    let ranges = column.ranges.clone();
    let same = ranges.iter().all(|r| dweights[r.clone()].iter().zip(&again[r.clone()]).all(|(a, b)| a == b));
    assert!(same, "{what}: the gradient depends on whether dx is asked for");

    let names = tensor_names(&column);
    let (mut compared, mut kinks) = (0, 0);
    let mut loss = |weights: &[f32], x: &[f32]| {
        let y = run(&mut column, &pass, weights, x);
        let loss: f64 = y.iter().zip(&r).map(|(&y, &r)| f64::from(y) * f64::from(r)).sum();
        (active(&column, batch) == centre).then_some(loss)
    };
    let mut compare = |name: &str, gradient: &[f32], difference: &mut dyn FnMut(usize, f32) -> Option<f64>| {
        assert!(gradient.iter().all(|g| g.is_finite()), "{what}: {name} is not overwritten");
        let square: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
        let rms = (square / gradient.len() as f64).sqrt();
        // Every coordinate of the small tensors, some of the large ones.
        for i in (0..gradient.len()).step_by(gradient.len().div_ceil(24)) {
            let g = f64::from(gradient[i]);
            let tried: Vec<f64> = STEPS.iter().filter_map(|&step| difference(i, step)).collect();
            let fits = |d: &f64| (g - d).abs() <= TOLERANCE * g.abs().max(d.abs()).max(rms) + 1e-4;
            assert!(
                tried.is_empty() || tried.iter().any(fits),
                "{what}: {name}[{i}] is {g}, differences give {tried:?}"
            );
            compared += 1;
            kinks += usize::from(tried.is_empty());
        }
    };
    for (name, range) in names.into_iter().zip(ranges) {
        compare(&name, &dweights[range.clone()], &mut |i, step| {
            let (at, value) = (range.start + i, weights[range.start + i]);
            weights[at] = value + step;
            let above = loss(&weights, &x);
            weights[at] = value - step;
            let below = loss(&weights, &x);
            weights[at] = value;
            Some((above? - below?) / (f64::from(value + step) - f64::from(value - step)))
        });
    }
    compare("dx", &dx, &mut |i, step| {
        let value = x[i];
        x[i] = value + step;
        let above = loss(&weights, &x);
        x[i] = value - step;
        let below = loss(&weights, &x);
        x[i] = value;
        Some((above? - below?) / (f64::from(value + step) - f64::from(value - step)))
    });
    assert!(kinks * 5 <= compared, "{what}: {kinks} of {compared} coordinates lie at a kink");
}

#[test]
fn gradients_are_the_finite_differences_in_every_mode() {
    let connectome = connectome(&TINY, 0.4);
    let mut config = config();
    config.column.receptive_field = 0.5;
    config.column.readout = vec!["L6".into(), "L2/3".into()];
    config.column.noise = NoiseKind::Synapse;
    let one = pool(1).unwrap();
    for &inhibition in InhibitionKind::ALL {
        for switches in 0..16 {
            let on = |bit: usize| switches >> bit & 1 == 1;
            let c = &mut config.column;
            c.inhibition = inhibition;
            (c.intra, c.skips, c.layer_norm) = (on(0), on(1), on(2));
            c.input = if on(3) { InputProjection::Retinotopic } else { InputProjection::Dense };
            let what =
                format!("{inhibition}, intra {}, skips {}, layer norm {}, {}", c.intra, c.skips, c.layer_norm, c.input);
            one.run(|| check_gradients(&what, &config, &connectome));
        }
    }
}

#[test]
fn gradients_are_the_finite_differences_without_masks_and_with_other_noise() {
    let connectome = connectome(&TINY, 0.4);
    let mut config = config();
    let one = pool(1).unwrap();
    for &inhibition in InhibitionKind::ALL {
        for noise in [NoiseKind::Unit, NoiseKind::None] {
            let c = &mut config.column;
            (c.inhibition, c.noise) = (inhibition, noise);
            (c.masks, c.gamma_learned) = (noise == NoiseKind::None, noise == NoiseKind::None);
            one.run(|| {
                check_gradients(
                    &format!("{inhibition}, noise {noise}, masks {}", config.column.masks),
                    &config,
                    &connectome,
                )
            });
        }
    }
}
