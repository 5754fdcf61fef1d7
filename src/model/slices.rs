//! The passes over a batch in slices: each slice of up to [`SLICE`] images goes through the layers on one thread, with
//! replicas of its own, so that its activity stays in the cache of one core and threads wait for each other once a pass.
//!
//! How a batch is cut depends on its size alone, and what slices add up (gradients, statistics of the batch) is added in
//! their order: any number of threads gives the same bits. Slices wait for each other in a pass where images meet
//! ([`super::Meeting`]) and at large all-to-all projections ([`super::Afferents`]).

use super::network::{Stop, Tensor, tensors_of};
use super::replica::{Memory, Replica};
use super::{Network, Outer, Pass, Plastic, afferents};
use crate::aligned::Aligned;
use crate::kernels::optimizer::sum_parts;
use crate::kernels::{dense, threads};
use std::ops::Range;

/// Images of a slice: one vector of 16 lanes for each unit.
pub const SLICE: usize = 16;

/// The slices of `batch` images, in order.
pub fn slices(batch: usize) -> impl Iterator<Item = Range<usize>> {
    (0..batch).step_by(SLICE).map(move |start| start..batch.min(start + SLICE))
}

impl Network {
    /// As many replicas as there are slices in `batch` images, each knowing its images; returns how many.
    fn cut(&mut self, batch: usize) -> usize {
        let count = slices(batch).count();
        self.replicate(count);
        for (replica, images) in self.replicas.iter_mut().zip(slices(batch)) {
            replica.images = images.len();
        }
        count
    }

    /// [`Layer::hold`] of all layers: the first replica's, of which the others are then made again.
    pub(super) fn hold(&mut self, weights: Option<&[f32]>) {
        self.replicas.truncate(1);
        for (layer, range) in self.replicas[0].layers.iter_mut().zip(&self.weights) {
            layer.hold(weights.map(|w| &w[range.clone()]));
        }
    }

    /// Neurons of the last layer.
    fn outputs(&self) -> usize {
        self.layers()[self.layers().len() - 1].output().n()
    }

    fn replicate(&mut self, count: usize) {
        while self.replicas.len() < count {
            self.replicas.push(self.replicas[0].replicate());
        }
    }

    /// One pass up: `fill(images, x)` writes the images of a slice `(N_input, B)`, `read(images, logits, dlogits)` sees its
    /// logits `(7, B)` and may write their gradient `(7, B)` for [`Network::descend`]. Returns what `read` gave, slice
    /// by slice. In training the running statistics `buffers` follow.
    pub fn ascend<T: Send>(
        &mut self,
        pass: &Pass,
        weights: &[f32],
        buffers: &mut [f32],
        fill: impl Fn(Range<usize>, &mut [f32]) + Sync + Send,
        read: impl Fn(Range<usize>, &[f32], &mut [f32]) -> T + Sync + Send,
    ) -> Vec<T> {
        let (count, last) = (self.cut(pass.batch), self.layers().len() - 1);
        let up = Up {
            input: self.input.n(),
            w: Memory { ranges: &self.weights, values: weights },
            b: Memory { ranges: &self.buffers, values: buffers },
            stops: &self.stops,
            tensors: &self.tensors,
        };
        let results = up.climb(
            &mut self.replicas[..count],
            |stop| pass.training && stop.stops(count),
            |i, images| Pass { batch: images, slice: i as u64, ..*pass },
            fill,
            |i, replica| {
                let logits = &replica.outputs[last];
                let dlogits = &mut replica.d_outputs[last];
                dlogits.resize(logits.len(), 0.0);
                read(i * SLICE..i * SLICE + replica.images, logits, dlogits)
            },
        );
        if pass.training {
            for (layer, range) in self.replicas[0].layers.iter().zip(&self.buffers) {
                layer.follow(&mut buffers[range.clone()]);
            }
        }
        results
    }

    /// One pass down after [`Network::ascend`] of the same batch in training: overwrites `dweights` of the layers from
    /// `from` to the last with the gradient and returns the sum of its squares. Layers before `from` are not touched.
    pub fn descend(&mut self, pass: &Pass, weights: &[f32], from: usize, dweights: &mut [f32]) -> f64 {
        let (count, len) = (self.cut(pass.batch), self.weights_len());
        let w = Memory { ranges: &self.weights, values: weights };
        let replicas = &mut self.replicas[..count];
        let part = |i: usize, images: usize| Pass { batch: images, slice: i as u64, ..*pass };
        // Where nobody wants the gradient of the input, nothing is left to compute for all slices.
        let wanted = |stop: &Stop| stop.layer > from || (stop.meeting && stop.layer == from);
        let stops = self.stops.iter().rev().filter(|stop| stop.stops(count) && wanted(stop));
        let mut stopped: Option<(usize, Vec<Vec<f64>>)> = None;
        let last = replicas[0].layers.len();
        let go_on = |i: usize, replica: &mut Replica, stopped: &Option<(usize, Vec<Vec<f64>>)>, down_to: usize| {
            let pass = part(i, replica.images);
            if replica.dweights.len() != len {
                // Zeroed by the system: what no layer writes takes no memory.
                replica.dweights = Aligned::zeros(len);
            }
            let above = match stopped {
                None => last,
                Some((at, told)) => replica.backward_with(*at, from, told, i, &pass, w),
            };
            replica.backward_through(down_to..above, from, &pass, w);
        };
        for stop in stops {
            let told = threads::map_slices(replicas, |i, replica| {
                go_on(i, replica, &stopped, stop.layer + 1);
                replica.stop_backward(stop.layer, &part(i, replica.images), w)
            });
            if !stop.meeting {
                afferents::project_back(replicas, stop.layer, &self.tensors[stop.tensors.clone()], weights);
            }
            stopped = Some((stop.layer, told));
        }
        threads::map_slices(replicas, |i, replica| go_on(i, replica, &stopped, from));
        self.add_up(count, from, dweights)
    }

    /// The gradient of the layers from `from` out of the slices' parts; returns the sum of its squares.
    fn add_up(&mut self, count: usize, from: usize, dweights: &mut [f32]) -> f64 {
        let mut square = 0.0;
        let Self { replicas, tensors, turned, .. } = self;
        let replicas = &replicas[..count];
        for i in from..replicas[0].layers.len() {
            let outer: Vec<Vec<Outer>> = replicas.iter().map(|r| r.outer(i)).collect();
            for (t, tensor) in tensors[tensors_of(tensors, i)].iter().enumerate() {
                let sum = &mut dweights[tensor.range.clone()];
                if let Some(k) = outer[0].iter().position(|o| o.tensor == t) {
                    let parts: Vec<(&[f32], &[f32])> = outer.iter().map(|o| (o[k].x, o[k].dy)).collect();
                    let turned = turned.prefix(parts.iter().map(|(x, _)| x.len()).sum());
                    let (n_post, n_pre) = (outer[0][k].n_post, outer[0][k].n_pre);
                    square += dense::backward_weights_parts(n_post, n_pre, &parts, turned, sum);
                } else {
                    let parts: Vec<&[f32]> = replicas.iter().map(|r| &r.dweights[tensor.range.clone()]).collect();
                    square += sum_parts(&parts, sum);
                }
            }
        }
        square
    }

    /// Logits `(7, B)` of the images `x`: the slices of the batch one after another, each `(1, 48, 48, B)`.
    pub fn forward(&mut self, pass: &Pass, weights: &[f32], buffers: &mut [f32], x: &[f32]) -> Vec<f32> {
        let (input, batch) = (self.input.n(), pass.batch);
        assert_eq!(x.len(), input * batch, "x must be (N_input, B)");
        let fill = |images: Range<usize>, out: &mut [f32]| out.copy_from_slice(&x[images.start * input..][..out.len()]);
        let parts = self.ascend(pass, weights, buffers, fill, |images, logits, _| (images, logits.to_vec()));
        let mut all = vec![0.0; self.outputs() * batch];
        for (images, logits) in parts {
            for (k, row) in logits.chunks_exact(images.len()).enumerate() {
                all[k * batch..][images.clone()].copy_from_slice(row);
            }
        }
        all
    }

    /// [`Network::descend`] from the gradient of the logits `(7, B)`. Follows [`Network::forward`] of the same batch.
    pub fn backward(
        &mut self,
        pass: &Pass,
        weights: &[f32],
        dlogits: &[f32],
        from: usize,
        dweights: &mut [f32],
    ) -> f64 {
        let (last, batch) = (self.layers().len() - 1, pass.batch);
        for (replica, images) in self.replicas.iter_mut().zip(slices(batch)) {
            for (row, all) in replica.d_outputs[last].chunks_exact_mut(images.len()).zip(dlogits.chunks_exact(batch)) {
                row.copy_from_slice(&all[images.clone()]);
            }
        }
        self.descend(pass, weights, from, dweights)
    }

    /// Outputs in evaluation of `n` images, each seen in `views` ways: `fill(images, view, x)` writes a slice's images
    /// `(N_input, B)`, `read(logits, out)` adds what it wants of the logits `(7, B)` to the slice's part of `out (n, 7)`.
    /// A worker takes two slices at a time; two whole ones meet large projections together.
    pub fn evaluate(
        &mut self,
        weights: &[f32],
        buffers: &[f32],
        views: usize,
        fill: impl Fn(Range<usize>, usize, &mut [f32]) + Sync + Send,
        read: impl Fn(&[f32], &mut [f32]) + Sync + Send,
        out: &mut [f32],
    ) {
        let (last, classes) = (self.layers().len() - 1, self.outputs());
        let n = out.len() / classes;
        let count = slices(n).count();
        let workers = threads::workers().min(count).max(1);
        let share = count.div_ceil(workers).max(1);
        let together = share.min(2);
        self.replicate(together * workers);
        let up = Up {
            input: self.input.n(),
            w: Memory { ranges: &self.weights, values: weights },
            b: Memory { ranges: &self.buffers, values: buffers },
            stops: &self.stops,
            tensors: &self.tensors,
        };
        let jobs = self.replicas.chunks_mut(together).zip(out.chunks_mut(share * SLICE * classes));
        threads::map_slices(&mut jobs.collect::<Vec<_>>(), |job, (replicas, out)| {
            for (k, out) in out.chunks_mut(together * SLICE * classes).enumerate() {
                let (start, n) = ((job * share + k * together) * SLICE, out.len() / classes);
                let replicas = &mut replicas[..slices(n).count()];
                for (r, images) in replicas.iter_mut().zip(slices(n)) {
                    r.images = images.len();
                }
                // Slices that are not whole gain nothing, and an image alone may go by other kernels, see `Layer::hold`.
                let meet = replicas.len() > 1 && replicas.iter().all(|r| r.images == SLICE);
                for view in 0..views {
                    up.climb(
                        replicas,
                        |stop| meet && !stop.meeting,
                        |_, images| Pass { training: false, batch: images, slice: 0, seed: 0, step: 0 },
                        |images, x| fill(start + images.start..start + images.end, view, x),
                        |_, _| (),
                    );
                    for (r, out) in replicas.iter().zip(out.chunks_mut(SLICE * classes)) {
                        read(&r.outputs[last], out);
                    }
                }
            }
        });
    }

    /// The projections of a layer that Hebbian rules may change, each with its activity in each slice of the last pass.
    /// With `pass.batch = 0` it lists them without activity.
    pub fn plastic(&self, layer: usize, pass: &Pass) -> Vec<Vec<Plastic<'_>>> {
        let count = slices(pass.batch).count().max(1);
        let mut slices = self.replicas[..count].iter().map(|replica| {
            let (x, y): (&[f32], &[f32]) = match layer {
                _ if pass.batch == 0 => (&[], &[]),
                0 => (&replica.x, &replica.outputs[0]),
                _ => (&replica.outputs[layer - 1], &replica.outputs[layer]),
            };
            replica.layers[layer].plastic(x, y, &Pass { batch: replica.images.min(pass.batch), ..*pass })
        });
        let mut list: Vec<Vec<Plastic>> = slices.next().into_iter().flatten().map(|p| vec![p]).collect();
        for slice in slices {
            list.iter_mut().zip(slice).for_each(|(parts, p)| parts.push(p));
        }
        list
    }
}

/// What slices need on their way up.
struct Up<'a> {
    /// Neurons of an image.
    input: usize,
    w: Memory<'a>,
    b: Memory<'a>,
    stops: &'a [Stop],
    tensors: &'a [Tensor],
}

impl Up<'_> {
    /// Takes slices up through all layers, those waiting for each other where they `stop`. `pass(i, images)` is that of slice
    /// `i`, `fill` writes its images `(N_input, B)`, `end` sees what came of it.
    fn climb<T: Send>(
        &self,
        replicas: &mut [Replica],
        stop: impl Fn(&Stop) -> bool,
        pass: impl Fn(usize, usize) -> Pass + Sync + Send,
        fill: impl Fn(Range<usize>, &mut [f32]) + Sync + Send,
        end: impl Fn(usize, &mut Replica) -> T + Sync + Send,
    ) -> Vec<T> {
        // The layer that slices stopped at, and what they told there.
        let mut stopped: Option<(usize, Vec<Vec<f64>>)> = None;
        let go_on = |i: usize, replica: &mut Replica, stopped: &Option<(usize, Vec<Vec<f64>>)>, to: usize| {
            let pass = pass(i, replica.images);
            let start = match stopped {
                None => {
                    replica.x.resize(self.input * replica.images, 0.0);
                    fill(i * SLICE..i * SLICE + replica.images, &mut replica.x);
                    0
                }
                Some((at, told)) => replica.forward_with(*at, told, &pass, self.w),
            };
            replica.forward(start..to, &pass, self.w, self.b)
        };
        for stop in self.stops.iter().filter(|s| stop(s)) {
            let told = threads::map_slices(replicas, |i, replica| {
                let told = go_on(i, replica, &stopped, stop.layer);
                replica.tell_forward(stop.layer, told)
            });
            if !stop.meeting {
                afferents::project(replicas, stop.layer, &self.tensors[stop.tensors.clone()], self.w.values);
            }
            stopped = Some((stop.layer, told));
        }
        threads::map_slices(replicas, |i, replica| {
            go_on(i, replica, &stopped, replica.layers.len());
            end(i, replica)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides, effective};
    use crate::connectome;
    use crate::kernels::threads::pool;
    use crate::model::presets::preset;
    use crate::rng::Rng;

    /// A small network with every kind of layer that slices treat apart: statistics of the batch, a dense projection, masks.
    fn config(sets: &[&str]) -> Config {
        let stem = "stem=[{layer=\"conv\", filters=3, kernel=3}, {layer=\"batch_norm\"}, {layer=\"max_pool\", size=6}, \
                    {layer=\"relu\"}, {layer=\"dense\", units=9}, {layer=\"batch_norm\"}, \
                    {layer=\"relu\"}]";
        let sets = [stem, "column.noise=none"].iter().chain(sets).map(|s| (*s).to_owned()).collect();
        effective(&preset("bionic").unwrap(), &Overrides { sets, ..Overrides::default() }).unwrap()
    }

    struct Outcome {
        logits: Vec<f32>,
        gradient: Vec<f32>,
        buffers: Vec<f32>,
    }

    /// A pass up and down over `images (B, 2304)` with `threads`, from the gradient `(7, B)` of the logits.
    fn pass(config: &Config, images: &[f32], dlogits: &[f32], threads: usize) -> Outcome {
        let batch = dlogits.len() / 7;
        pool(threads).unwrap().run(|| {
            let wiring = connectome::load(&config.connectome).unwrap();
            let mut network = Network::build(config, Some(&wiring)).unwrap();
            let (mut weights, mut buffers) = (vec![0.0; network.weights_len()], vec![0.0; network.buffers_len()]);
            network.initialise(1, &mut weights, &mut buffers);
            let x: Vec<f32> = slices(batch)
                .flat_map(|s| (0..2304).flat_map(move |p| s.clone().map(move |b| images[b * 2304 + p])))
                .collect();
            let pass = Pass { training: true, batch, slice: 0, seed: 1, step: 0 };
            let logits = network.forward(&pass, &weights, &mut buffers, &x);
            let mut gradient = vec![0.0; weights.len()];
            network.backward(&pass, &weights, dlogits, 0, &mut gradient);
            Outcome { logits, gradient, buffers }
        })
    }

    fn numbers(n: usize) -> Vec<f32> {
        let mut rng = Rng::stream(1, "slices", &[n as u64]);
        (0..n).map(|_| rng.normal()).collect()
    }

    fn close(what: &str, a: &[f32], b: &[f32]) {
        let size = b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(size > 0.0, "{what}: nothing to compare");
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2e-4 * size), "{what} differ");
    }

    #[test]
    fn slices_cover_the_batch_once_in_order() {
        for batch in [0, 1, 15, 16, 17, 32, 41] {
            assert!(slices(batch).flatten().eq(0..batch) && slices(batch).all(|s| s.len() <= SLICE));
        }
    }

    /// Twice the same 16 images, as two slices, are once these images with half the gradient each: nothing depends on
    /// where a batch is cut, statistics of the batch included.
    #[test]
    fn two_slices_are_one_batch() {
        let (config, images, d) = (config(&[]), numbers(16 * 2304), numbers(16 * 7));
        let once = pass(&config, &images, &d, 1);
        let twice: Vec<f32> = d.chunks(16).flat_map(|row| [row, row].concat()).map(|d| 0.5 * d).collect();
        let two = pass(&config, &[&images[..], &images[..]].concat(), &twice, 1);
        for (row, both) in once.logits.chunks(16).zip(two.logits.chunks(32)) {
            close("logits", &both[..16], row);
            close("logits", &both[16..], row);
        }
        close("gradients", &two.gradient, &once.gradient);
    }

    /// The statistics are those of all 40 images, though slices have 16, 16 and 8 of them.
    #[test]
    fn images_of_all_slices_meet_in_batch_norm() {
        let (config, images, d) = (config(&[]), numbers(40 * 2304), numbers(40 * 7));
        let order: Vec<usize> = (0..40).map(|b| (b * 7 + 3) % 40).collect();
        let shuffled: Vec<f32> = order.iter().flat_map(|&b| &images[b * 2304..][..2304]).copied().collect();
        let d_shuffled: Vec<f32> = d.chunks(40).flat_map(|row| order.iter().map(|&b| row[b])).collect();
        let (a, b) = (pass(&config, &images, &d, 1), pass(&config, &shuffled, &d_shuffled, 1));
        close("gradients", &b.gradient, &a.gradient);
        close("running statistics", &b.buffers, &a.buffers);
        for (row, moved) in a.logits.chunks(40).zip(b.logits.chunks(40)) {
            close("logits", moved, &order.iter().map(|&b| row[b]).collect::<Vec<f32>>());
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let config = config(&["column.noise=synapse"]);
        for batch in [7, 40] {
            let (images, d) = (numbers(batch * 2304), numbers(batch * 7));
            let bits = |threads: usize| {
                let Outcome { logits, gradient, buffers } = pass(&config, &images, &d, threads);
                [logits, gradient, buffers].concat().iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
            };
            let one = bits(1);
            assert!(one == bits(2) && one == bits(5), "batch {batch}");
        }
    }

    /// 16, 33 and 70 images on 1, 2 and 3 workers: some with one slice, some with two at a time, some that end with one.
    #[test]
    fn evaluation_gives_the_bits_of_each_slice_alone() {
        let interneurons = "column.inhibition=interneurons";
        for sets in [&[][..], &[interneurons], &["column.enabled=false"]] {
            let config = config(sets);
            let wiring = config.column.enabled.then(|| connectome::load(&config.connectome).unwrap());
            let mut network = Network::build(&config, wiring.as_ref()).unwrap();
            assert!(network.stops.iter().any(|stop| !stop.meeting));
            let (mut weights, mut buffers) = (vec![0.0; network.weights_len()], vec![0.0; network.buffers_len()]);
            network.initialise(1, &mut weights, &mut buffers);
            for n in [16, 33, 70] {
                let x = numbers(n * 2304);
                let pass = Pass { training: false, batch: n, slice: 0, seed: 1, step: 0 };
                let alone = network.forward(&pass, &weights, &mut buffers, &x);
                for workers in [1, 2, 3] {
                    let mut found = vec![0.0; n * 7];
                    pool(workers).unwrap().run(|| {
                        let fill = |images: Range<usize>, _, part: &mut [f32]| {
                            part.copy_from_slice(&x[images.start * 2304..images.end * 2304]);
                        };
                        let read = |logits: &[f32], out: &mut [f32]| {
                            for (b, out) in out.chunks_exact_mut(7).enumerate() {
                                (0..7).for_each(|k| out[k] = logits[k * (logits.len() / 7) + b]);
                            }
                        };
                        network.evaluate(&weights, &buffers, 1, fill, read, &mut found);
                    });
                    let same = (0..n).all(|b| (0..7).all(|k| found[b * 7 + k].to_bits() == alone[k * n + b].to_bits()));
                    assert!(same, "{n} images on {workers} workers");
                }
            }
        }
    }
}
