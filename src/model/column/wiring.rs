//! From a connectome and a configuration to the column's populations, projections and tensors.

use super::interneurons::Interneurons;
use super::population::{Inhibition, Norm, Population};
use super::projection::{Mask, Projection};
use super::silence::interneurons_of;
use super::{Column, Source};
use crate::config::{Config, InhibitionKind, InputProjection, NoiseKind};
use crate::connectome::{Connectome, Polarity, Synapses};
use crate::error::{Error, Result};
use crate::model::network::check_parameters;
use crate::model::{Init, Role, Shape, TensorSpec};
use std::ops::Range;
use std::sync::Arc;

/// Builds the column that `config.column` describes, wired by `connectome`, for features of shape `input`.
///
/// # Errors
/// `Input` if a lamina has no excitatory cell or two consecutive laminae are not connected;
/// `Usage` if the configuration names a lamina that the connectome lacks, or the neurons see more than fits.
pub fn build(config: &Config, connectome: &Connectome, input: Shape) -> Result<Column> {
    refuse_repeats("column.laminae", &config.column.laminae)?;
    refuse_repeats("column.readout", &config.column.readout)?;
    let laminae = chosen_laminae(&config.column.laminae, connectome)?;
    let mut builder = Builder { config, connectome, input, tensors: Vec::new(), cells: Vec::new() };
    let mut populations = Vec::new();
    for lamina in &laminae {
        populations.push(builder.population(lamina, &laminae)?);
    }
    let interneurons = |p: &Population| matches!(p.inhibition, Inhibition::Interneurons(_));
    if config.column.inhibition == InhibitionKind::Interneurons && !populations.iter().any(interneurons) {
        return Err(Error::input(
            &connectome.origin,
            "no inhibitory cell synapses onto an excitatory one of its own lamina",
            "give the inhibitory cells their lamina in the neuron table, or use another column.inhibition",
        ));
    }
    let names = match config.column.readout.as_slice() {
        [] => laminae[laminae.len() - 1..].to_vec(),
        [all] if all == "all" => laminae.clone(),
        chosen => chosen.to_vec(),
    };
    let readout = names
        .iter()
        .map(|name| {
            laminae.iter().position(|l| l == name).ok_or_else(|| unknown_lamina("column.readout", name, &laminae))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Column::new(input, populations, readout, builder.tensors))
}

fn chosen_laminae(wanted: &[String], connectome: &Connectome) -> Result<Vec<String>> {
    let known = connectome.processing_order();
    if known.is_empty() {
        return Err(Error::input(
            &connectome.origin,
            "no excitatory neuron",
            "check the polarity column of the neuron table",
        ));
    }
    for lamina in wanted {
        if !known.contains(lamina) {
            return Err(unknown_lamina("column.laminae", lamina, &known));
        }
    }
    Ok(if wanted.is_empty() { known } else { wanted.to_vec() })
}

/// A lamina is one population: it is processed once and read once.
fn refuse_repeats(key: &str, names: &[String]) -> Result<()> {
    match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        None => Ok(()),
        Some((_, name)) => Err(Error::usage(format!("{key}: lamina \"{name}\" occurs twice"), "name each lamina once")),
    }
}

fn unknown_lamina(key: &str, name: &str, known: &[String]) -> Error {
    Error::usage(
        format!("{key}: no excitatory lamina \"{name}\" in the connectome"),
        format!("use some of: {}", known.join(", ")),
    )
}

struct Builder<'a> {
    config: &'a Config,
    connectome: &'a Connectome,
    input: Shape,
    tensors: Vec<TensorSpec>,
    /// Excitatory cells of each population so far.
    cells: Vec<Vec<usize>>,
}

impl Builder<'_> {
    /// Whether the law of Dale holds: strengths stay apart from signs, so that none may fall below zero.
    fn dale(&self) -> bool {
        self.config.column.inhibition == InhibitionKind::Interneurons
    }

    fn population(&mut self, lamina: &str, laminae: &[String]) -> Result<Population> {
        let column = &self.config.column;
        let cells = self.connectome.population(lamina);
        let (k, n) = (self.cells.len(), cells.len());
        let excitatory = self.afferents(&cells, lamina, laminae)?;
        if k > 0 && !excitatory.iter().any(|p| p.source == Source::Population(k - 1)) {
            // A lamina that the one before does not reach would silence everything behind it.
            return Err(crate::connectome::empty_projection(&laminae[k - 1], lamina, &self.connectome.origin));
        }
        let intra = if column.intra {
            self.masked(&cells, &cells, Source::Population(k), &format!("{lamina}->{lamina}"), recurrent)
        } else {
            None
        };
        let inhibition = match column.inhibition {
            InhibitionKind::Graded => self.graded(&cells, lamina),
            InhibitionKind::Interneurons => self.interneurons(&cells, lamina, laminae)?,
            InhibitionKind::None => Inhibition::None,
        };
        let bias = self.per_neuron(format!("{lamina}.bias"), n, 0.0);
        let norm = column.layer_norm.then(|| Norm {
            gain: self.gain(format!("{lamina}.norm_gain"), n),
            bias: self.per_neuron(format!("{lamina}.norm_bias"), n, 0.0),
        });
        let unit_noise = if column.noise == NoiseKind::Unit { column.noise_sigma } else { 0.0 };
        self.cells.push(cells.clone());
        Ok(Population::new(lamina.to_owned(), cells, excitatory, intra, inhibition, bias, norm, unit_noise))
    }

    /// Projections onto `post` from the features or from the populations before it, as far as they have synapses.
    fn afferents(&mut self, post: &[usize], name: &str, laminae: &[String]) -> Result<Vec<Projection>> {
        let k = self.cells.len();
        if k == 0 {
            return Ok(vec![self.input_projection(post, name)?]);
        }
        let first = if self.config.column.skips { 0 } else { k - 1 };
        let mut projections = Vec::new();
        for j in (first..k).rev() {
            let pre = self.cells[j].clone();
            let name = format!("{}->{name}", laminae[j]);
            projections.extend(self.masked(post, &pre, Source::Population(j), &name, feedforward));
        }
        Ok(projections)
    }

    /// A projection along the connectome's synapses (or all to all where masks are off); `None` if there is no synapse.
    /// `sd` gives the first strengths' standard deviation from a neuron's fan-in.
    fn masked(
        &mut self,
        post: &[usize],
        pre: &[usize],
        source: Source,
        name: &str,
        sd: fn(f32) -> f32,
    ) -> Option<Projection> {
        let column = &self.config.column;
        let synapses = if column.masks {
            self.connectome.projection(post, pre)
        } else {
            Synapses::all_to_all(post.len(), pre.len(), post == pre)
        };
        if synapses.is_empty() {
            return None;
        }
        let sigma = if column.noise == NoiseKind::Synapse { column.noise_sigma } else { 0.0 };
        let tensor = self.masked_tensor(name, &synapses, sd);
        Some(Projection::new(source, tensor, Mask::Synapses(Arc::new(synapses)), column.masks, sigma))
    }

    fn input_projection(&mut self, post: &[usize], name: &str) -> Result<Projection> {
        let (n_post, n_pre) = (post.len(), self.input.n());
        let name = format!("input->{name}");
        if self.config.column.input == InputProjection::Retinotopic {
            let synapses = self.retinotopic(post)?;
            let tensor = self.masked_tensor(&name, &synapses, feedforward);
            return Ok(Projection::new(Source::Input, tensor, Mask::Synapses(Arc::new(synapses)), false, 0.0));
        }
        let sd = (1.0 / n_pre as f32).sqrt();
        let tensor = self.add_signed(TensorSpec::new(name, &[n_post, n_pre], Role::Weight, Init::Normal(sd)));
        Ok(Projection::new(Source::Input, tensor, Mask::Dense { n_post, n_pre }, false, 0.0))
    }

    /// Each neuron sees all channels of a square of the visual field, centred where its place in the cortical sheet
    /// (x and z, rescaled to the field) puts it.
    ///
    /// # Errors
    /// `Input` for a neuron without a position; `Usage` for more pairs than parameters fit, before they are listed.
    fn retinotopic(&self, post: &[usize]) -> Result<Synapses> {
        let Shape { c, h, w } = self.input;
        let places = self.connectome.positions(post.iter().copied(), "column.input = retinotopic")?;
        let extent = |axis: usize| {
            let low = places.iter().map(|p| p[axis]).fold(f32::INFINITY, f32::min);
            let high = places.iter().map(|p| p[axis]).fold(f32::NEG_INFINITY, f32::max);
            (low, (high - low).max(f32::MIN_POSITIVE))
        };
        let (x, z) = (extent(0), extent(2));
        let half = 0.5 * self.config.column.receptive_field;
        let span = |centre: f32, size: usize| {
            let low = ((centre - half) * size as f32).round().clamp(0.0, size as f32 - 1.0) as usize;
            let high = ((centre + half) * size as f32).round().clamp(low as f32 + 1.0, size as f32) as usize;
            low..high
        };
        let field = |p: &[f32; 3]| (span((p[2] - z.0) / z.1, h), span((p[0] - x.0) / x.1, w));
        let fields: Vec<(Range<usize>, Range<usize>)> = places.iter().map(field).collect();
        let seen =
            |(rows, cols): &(Range<usize>, Range<usize>)| c.saturating_mul(rows.len()).saturating_mul(cols.len());
        check_parameters("column", fields.iter().map(seen).fold(0, usize::saturating_add))?;
        let connections = fields.iter().enumerate().flat_map(|(i, (rows, cols))| {
            let pixels = (0..c).flat_map(move |channel| {
                rows.clone().flat_map(move |row| cols.clone().map(move |col| (channel * h + row) * w + col))
            });
            pixels.map(move |pixel| (i, pixel, 1))
        });
        Synapses::from_connections(post.len(), self.input.n(), connections)
            .map_err(|e| Error::other(format!("retinotopic projection: {e}"), "use a smaller column.receptive_field"))
    }

    fn graded(&mut self, cells: &[usize], lamina: &str) -> Inhibition {
        let column = &self.config.column;
        let dose = dose(&self.connectome.inhibitory_synapses_onto(cells), |_, count| count);
        let tensor = column.gamma_learned.then(|| {
            let spec = TensorSpec::new(format!("{lamina}.gamma"), &[1], Role::Plain, Init::Constant(column.gamma));
            self.add(spec)
        });
        Inhibition::Graded { dose, gamma: column.gamma, tensor }
    }

    fn interneurons(&mut self, cells: &[usize], lamina: &str, laminae: &[String]) -> Result<Inhibition> {
        let inhibitory = self.connectome.select(Some(lamina), Some(Polarity::Inhibitory));
        let name = interneurons_of(lamina);
        let k = self.cells.len();
        let own = Source::Population(k);
        let Some(efferent) = self.masked(cells, &inhibitory, own, &format!("{name}->{lamina}"), inhibiting) else {
            return Ok(Inhibition::None);
        };
        let afferents = self.afferents(&inhibitory, &name, laminae)?;
        let from_lamina = self.masked(&inhibitory, cells, own, &format!("{lamina}->{name}"), recurrent);
        let gain = self.gain(format!("{lamina}.gain"), cells.len());
        let alpha = self.per_neuron(format!("{lamina}.alpha"), cells.len(), 0.0);
        let floor = self.config.column.shunt_floor;
        let cells = Interneurons::new(inhibitory, afferents, from_lamina, efferent, [gain, alpha], floor);
        Ok(Inhibition::Interneurons(Box::new(cells)))
    }

    fn masked_tensor(&mut self, name: &str, synapses: &Synapses, sd: fn(f32) -> f32) -> usize {
        let row_starts = synapses.row_starts().to_vec();
        let sd = row_starts.windows(2).map(|r| sd((r[1] - r[0]).max(1) as f32)).collect();
        let init = Init::NormalRows { sd, row_starts };
        self.add_signed(TensorSpec::new(name, &[synapses.len()], Role::Weight, init))
    }

    /// A gain per neuron. Where the law of Dale holds it may not fall below zero, or the synapses onto that neuron would
    /// change their sign together.
    fn gain(&mut self, name: String, n: usize) -> usize {
        self.add_signed(TensorSpec::new(name, &[n], Role::Plain, Init::Constant(1.0)))
    }

    fn per_neuron(&mut self, name: String, n: usize, value: f32) -> usize {
        self.add(TensorSpec::new(name, &[n], Role::Plain, Init::Constant(value)))
    }

    /// Adds a tensor that may not fall below zero where the law of Dale holds.
    fn add_signed(&mut self, spec: TensorSpec) -> usize {
        self.add(if self.dale() { spec.non_negative() } else { spec })
    }

    fn add(&mut self, spec: TensorSpec) -> usize {
        self.tensors.push(spec);
        self.tensors.len() - 1
    }
}

/// Graded inhibition of each neuron `(N)`: the inhibitory synapses that are `left` of its `counts (N)`, over the most that
/// any neuron of the lamina has in `counts`. `left` is given a neuron's place and its count.
pub(super) fn dose(counts: &[u32], left: impl Fn(usize, u32) -> u32) -> Vec<f32> {
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f32;
    counts.iter().enumerate().map(|(i, &count)| left(i, count) as f32 / most).collect()
}

/// Standard deviation of the first strengths of a feed-forward projection: keeps the variance of the activity.
fn feedforward(fan_in: f32) -> f32 {
    (1.0 / fan_in).sqrt()
}

/// The same for the recurrent step, at half the strength.
fn recurrent(fan_in: f32) -> f32 {
    0.5 * (1.0 / fan_in).sqrt()
}

/// The same for inhibition, which is summed like the excitation that it answers: half-normal strengths of mean 1 / fan-in.
fn inhibiting(fan_in: f32) -> f32 {
    (std::f32::consts::PI / 2.0).sqrt() / fan_in
}
