//! The inhibitory cells of a lamina as units of their own (`interneurons` of [`super::population`]), forward and back.

use super::Source;
use super::projection::{InputGradient, Projection, input_product};
use crate::aligned::Aligned;
use crate::model::{Pass, Product};
use std::ops::Range;

/// The inhibitory cells of a lamina, and their projections.
#[derive(Clone)]
pub(crate) struct Interneurons {
    pub(crate) n: usize,
    /// Index of each in the connectome's list of neurons `(N_I)`.
    pub(crate) neurons: Vec<usize>,
    /// E (earlier populations, features) to I.
    pub(crate) afferents: Vec<Projection>,
    /// E to I within the lamina, driven by the first response φ(u).
    pub(crate) from_lamina: Option<Projection>,
    /// I to E.
    pub(crate) efferent: Projection,
    /// Tensors of the gain g and the shunting exponent α, each `(N)`.
    pub(crate) gain: usize,
    pub(crate) alpha: usize,
    pub(crate) shunt_floor: f32,
    /// h `(N_I, B)`, s `(N, B)`, and their gradients.
    h: Aligned,
    s: Aligned,
    dh: Aligned,
    ds: Aligned,
}

impl Interneurons {
    pub(crate) fn new(
        neurons: Vec<usize>,
        afferents: Vec<Projection>,
        from_lamina: Option<Projection>,
        efferent: Projection,
        [gain, alpha]: [usize; 2],
        shunt_floor: f32,
    ) -> Self {
        let [h, s, dh, ds] = std::array::from_fn(|_| Aligned::default());
        let n = neurons.len();
        Self { n, neurons, afferents, from_lamina, efferent, gain, alpha, shunt_floor, h, s, dh, ds }
    }

    /// Activity h of the last pass `(N_I, B)`.
    pub(crate) fn output(&self, batch: usize) -> &[f32] {
        &self.h[..self.n * batch]
    }

    /// Projections to and from them.
    pub(super) fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.afferents.iter().chain(&self.from_lamina).chain([&self.efferent])
    }

    /// The same, to change them.
    pub(super) fn projections_mut(&mut self) -> impl Iterator<Item = &mut Projection> {
        self.afferents.iter_mut().chain(&mut self.from_lamina).chain([&mut self.efferent])
    }

    /// The afferents, each with the gradient of h.
    pub(super) fn afferents(&self) -> impl Iterator<Item = (&Projection, &[f32])> {
        self.afferents.iter().map(|p| (p, self.dh.as_slice()))
    }

    /// The same, to change them.
    pub(super) fn afferents_mut(&mut self) -> impl Iterator<Item = (&mut Projection, &[f32])> {
        let dh = self.dh.as_slice();
        self.afferents.iter_mut().map(move |p| (p, dh))
    }

    /// [`input_product`] of their afferents.
    pub(super) fn product(&mut self, batch: usize) -> Option<Product<'_>> {
        input_product(self.afferents.first(), self.n, batch, &mut self.h)
    }

    /// `v = g (u' - s) / (exp(α) s + floor) + b` from the first response `a` and the input after recurrence `u`, each
    /// `(N, B)`; `bias` is the tensor of b.
    pub(super) fn forward<'a, 'w>(
        &mut self,
        pass: &Pass,
        w: &impl Fn(usize) -> &'w [f32],
        bias: usize,
        activity: &impl Fn(Source) -> Option<&'a [f32]>,
        a: &[f32],
        u: &[f32],
        v: &mut [f32],
    ) {
        let batch = pass.batch;
        self.h.resize(self.n * batch, 0.0);
        self.s.resize(u.len(), 0.0);
        for (i, p) in self.afferents.iter_mut().enumerate() {
            if let Some(x) = activity(p.source) {
                p.forward(pass, w(p.tensor), x, &mut self.h, i > 0);
            }
        }
        match (&mut self.from_lamina, self.afferents.len()) {
            (Some(p), others) => p.forward(pass, w(p.tensor), a, &mut self.h, others > 0),
            (None, 0) => self.h.fill(0.0),
            _ => {}
        }
        self.efferent.forward(pass, w(self.efferent.tensor), &self.h, &mut self.s, false);
        let (gain, alpha, bias) = (w(self.gain), w(self.alpha), w(bias));
        for i in 0..bias.len() {
            let row = i * batch..(i + 1) * batch;
            let (g, e, b) = (gain[i], alpha[i].exp(), bias[i]);
            for ((v, u), s) in v[row.clone()].iter_mut().zip(&u[row.clone()]).zip(&self.s[row]) {
                *v = g * (u - s) / (e * s + self.shunt_floor) + b;
            }
        }
    }

    /// From `dv`, the gradient of v, to those of u' (`du`), of the first response (`da`) and of the weights; afferents
    /// are left to [`Interneurons::afferents_mut`]. Arguments as in [`Interneurons::forward`].
    pub(super) fn backward<'w>(
        &mut self,
        batch: usize,
        w: &impl Fn(usize) -> &'w [f32],
        ranges: &[Range<usize>],
        bias: usize,
        a: &[f32],
        u: &[f32],
        dv: &[f32],
        du: &mut [f32],
        da: &mut [f32],
        dweights: &mut [f32],
    ) {
        self.ds.resize(u.len(), 0.0);
        self.dh.resize(self.n * batch, 0.0);
        let (gain, alpha) = (w(self.gain), w(self.alpha));
        for i in 0..gain.len() {
            let row = i * batch..(i + 1) * batch;
            let (g, e) = (gain[i], alpha[i].exp());
            let (mut d_gain, mut d_alpha, mut d_bias) = (0.0, 0.0, 0.0);
            for j in row {
                let (s, d) = (self.s[j], dv[j]);
                let inverse = 1.0 / (e * s + self.shunt_floor);
                let z = (u[j] - s) * inverse;
                d_bias += d;
                d_gain += d * z;
                du[j] = d * g * inverse;
                // dz/ds = -(1 + e z) / divisor, dz/dα = -z e s / divisor
                self.ds[j] = -du[j] * (1.0 + e * z);
                d_alpha -= du[j] * z * e * s;
            }
            dweights[ranges[bias].start + i] = d_bias;
            dweights[ranges[self.gain].start + i] = d_gain;
            dweights[ranges[self.alpha].start + i] = d_alpha;
        }
        let t = self.efferent.tensor;
        let d_efferent = &mut dweights[ranges[t].clone()];
        let dh = InputGradient::Overwrite(&mut self.dh);
        self.efferent.backward(w(t), batch, &self.h, &self.ds, dh, d_efferent);
        da.fill(0.0);
        if let Some(p) = &mut self.from_lamina {
            let dw = &mut dweights[ranges[p.tensor].clone()];
            p.backward(w(p.tensor), batch, a, &self.dh, InputGradient::Add(da), dw);
        }
    }
}
