//! Rounding with an eye on what flows through the model: a layer at a time, each seeing what the layers before it have
//! become.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use planish_kernels::block::Codec;

use super::executor::{self, Error, Executor, ExpertRows, Result, Settings, Stages, Tap};
use super::{Fingerprint, Journal, Place};
use crate::dialect::Tensors;
use crate::method::{self, Account, Channels, Method, Moments, Nearest, Reader, Task};
use crate::model::{self, Layer, Model, Param, Value};

/// Where rounded weights go.
pub trait Destination: Sync {
    /// The type that a weight becomes; `None` for one that keeps its own. `largest` is the largest of all weights that read
    /// what it reads: some types share a scale among them.
    fn codec(&self, weight: &Param, largest: f32) -> Option<Box<dyn Codec + Send + '_>>;
    /// Whether a vector can be changed there.
    fn takes(&self, vector: &Param) -> bool;
    /// The nearest values that a vector's type there holds.
    fn stored(&self, vector: &Param, values: &[f32]) -> Vec<f32>;
    /// Takes a matrix as blocks of that type, row after row.
    fn put(&self, weight: &Param, largest: f32, blocks: &[u8]) -> super::Result<()>;
    /// Takes a vector that is not the source's any more.
    fn put_vector(&self, vector: &Param, values: &[f32]) -> super::Result<()>;
}

/// What is done.
pub struct Layerwise<'a> {
    /// The program over the names of `source`.
    pub model: &'a Model,
    /// Its weights.
    pub source: &'a Tensors,
    /// Whole chunks, one after another.
    pub ids: &'a [u32],
    /// Tokens a chunk.
    pub tokens: usize,
    /// How the model is run.
    pub settings: Settings,
    /// How matrices are rounded.
    pub method: &'a dyn Method,
    /// Whether channels are scaled first (AWQ).
    pub rescale: bool,
    /// Whether a layer sees what the layers before it were, rather than what they have become.
    pub from_original: bool,
    /// Where they go.
    pub destination: &'a dyn Destination,
}

/// What became of one matrix.
#[derive(Clone, Debug)]
pub struct Solved {
    /// Its GGUF name.
    pub name: String,
    /// The type.
    pub ty: String,
    /// How it went.
    pub account: Account,
    /// Whether the type's codes are of several weights, so that it was rounded to nearest.
    pub whole_blocks: bool,
    /// Wall time.
    pub elapsed: Duration,
}

/// What became of one scale.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// The GGUF name of what was divided.
    pub maker: String,
    /// The loss of the readers, rounded to nearest, as a share of what there is to lose: before and after.
    pub loss: [f64; 2],
}

/// What there is to tell.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// In the order of execution.
    pub solved: Vec<Solved>,
    /// In the order of execution.
    pub scaled: Vec<Scaled>,
    /// Layers that an interrupted run had done; what became of them it has told.
    pub resumed: usize,
}

impl Layerwise<'_> {
    /// Rounds all weights of all layers, but for those that `journal` has done already. `progress` is told the layers that
    /// are done, and of how many; its error ends the run.
    pub fn run(
        &self,
        mut journal: Option<&mut Journal>,
        progress: &mut dyn FnMut(usize, usize) -> super::Result<()>,
    ) -> Result<Log> {
        if let Some(tensor) = self.shared() {
            return Err(Error::Shared { tensor });
        }
        let mut executor = Executor::new(self.model, self.source, self.ids, self.tokens, self.settings)?;
        let steps = executor.steps();
        let first = match journal.as_deref() {
            Some(journal) if journal.layers() > 0 => self.replay(journal, &mut executor)?,
            _ => 0,
        };
        let mut log = Log { resumed: first, ..Log::default() };
        for done in first..steps {
            let mut worker = Worker::new(self, journal.as_deref_mut(), &mut log);
            if self.rescale {
                let mut seen =
                    Absorbed { settings: self.settings, destination: self.destination, moments: BTreeMap::new() };
                if let Some(layer) = executor.look(&mut seen)? {
                    worker.rescale(layer, seen.moments)?;
                }
            }
            executor.step_in_stages(&mut worker)?;
            if let Some(journal) = journal.as_deref_mut() {
                Layerwise::record(journal, &executor)?;
            }
            progress(done + 1, steps)?;
        }
        Ok(log)
    }

    /// What tells this run from others.
    pub fn fingerprint(&self) -> Fingerprint {
        let weights = self.model.params().map(|(_, param)| param);
        let types: Vec<(String, String)> = weights
            .filter_map(|param| Some((param.name.clone(), self.destination.codec(param, 1.0)?.name().to_owned())))
            .collect();
        let (scaled, original) =
            (if self.rescale { "awq+" } else { "" }, if self.from_original { " from original" } else { "" });
        let precision = self.settings.computed_in().name();
        // A GPU's sums run in another order.
        let place = match self.settings.place {
            Place::Cpu => String::new(),
            #[cfg(feature = "cuda")]
            Place::Cuda(_) => format!(" on {}", self.settings.place.name()),
        };
        let method = format!("{scaled}{}{original} in {precision}{place}", self.method.name());
        Fingerprint::new(self.source, self.ids, self.tokens, &types, method)
    }

    /// A weight that two layers multiply by, but for a tied head.
    fn shared(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        let numbered = self.layers().filter(|layer| layer.block.is_some());
        let mut matrices = numbered.flat_map(|layer| layer.ops.iter().filter_map(model::Op::reads));
        matrices.find(|(_, weight)| !seen.insert(weight.name.as_str())).map(|(_, weight)| weight.name.clone())
    }

    /// The layers of the program that [`Executor::step_in_stages`] goes through.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.model.stacks.iter().flat_map(|stack| &stack.layers)
    }

    /// Puts what the journal has where it goes; says how many layers that was.
    fn replay(&self, journal: &Journal, executor: &mut Executor<'_>) -> Result<usize> {
        for (at, layer) in self.layers().enumerate().take(journal.layers()) {
            for entry in journal.entries(at).map_err(super::Error::from)? {
                let Some(param) = layer.params().find(|param| param.name == entry.name) else { continue };
                if param.shape.len() == 1 {
                    let values: Vec<f32> = entry.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                    self.destination.put_vector(param, &values)?;
                } else if let Some((largest, blocks)) = entry.bytes.split_first_chunk() {
                    self.destination.put(param, f32::from_le_bytes(*largest), blocks)?;
                }
            }
        }
        let mut hidden = journal.hidden().map_err(super::Error::from)?;
        executor.resume(journal.layers(), &mut |out| Ok(hidden(out).map_err(super::Error::from)?))?;
        Ok(journal.layers())
    }

    fn record(journal: &mut Journal, executor: &Executor<'_>) -> Result<()> {
        let (mut piece, mut failed) = (0, None);
        let written = journal.layer_done(|values| {
            piece += 1;
            match executor.piece(piece - 1, values) {
                Ok(more) => more.is_some(),
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(written.map_err(super::Error::from)?),
        }
    }
}

/// Collects the moments of the values whose channels could be scaled.
struct Absorbed<'a> {
    settings: Settings,
    destination: &'a dyn Destination,
    moments: BTreeMap<Value, Moments>,
}

impl Tap for Absorbed<'_> {
    fn value(&mut self, layer: &Layer, value: Value, x: &[f32]) -> Result<()> {
        if !self.moments.contains_key(&value) {
            let groups = model::groups(layer);
            let scalable = |group: &&model::Group<'_>| {
                group.input == value && all_rounded(self.destination, group) && can_divide(self.destination, group)
            };
            let Some(group) = groups.iter().find(scalable) else { return Ok(()) };
            let width = group.weights[0].shape.last().copied().unwrap_or(1);
            self.moments.insert(value, Moments::new(width));
        }
        if let Some(moments) = self.moments.get_mut(&value) {
            add(moments, &self.settings, x)?;
        }
        Ok(())
    }

    /// What only experts read has no scale.
    fn expert(&mut self, _: &Layer, _: Value, _: &ExpertRows<'_>) -> Result<()> {
        Ok(())
    }
}

fn all_rounded(destination: &dyn Destination, group: &model::Group<'_>) -> bool {
    group.weights.iter().all(|w| destination.codec(w, 1.0).is_some_and(|codec| codec.block_len() > 1))
}

/// Whether what makes the group's value can be written divided.
fn can_divide(destination: &dyn Destination, group: &model::Group<'_>) -> bool {
    let Some(absorber) = &group.absorb else { return false };
    let divides = |param: &Param| match param.shape.len() {
        1 => destination.takes(param),
        _ => destination.codec(param, 1.0).is_some(),
    };
    divides(absorber.weight) && absorber.bias.is_none_or(divides)
}

/// What goes on in one layer.
struct Worker<'a> {
    job: &'a Layerwise<'a>,
    journal: Option<&'a mut Journal>,
    log: &'a mut Log,
    /// Of the values that have been seen and not been decided on.
    moments: BTreeMap<Value, Moments>,
    /// Weights that are not the source's any more.
    changed: BTreeMap<String, Vec<f32>>,
    /// By what the columns of a value's readers are multiplied.
    scales: BTreeMap<Value, Vec<f32>>,
}

impl<'a> Worker<'a> {
    fn new(job: &'a Layerwise<'a>, journal: Option<&'a mut Journal>, log: &'a mut Log) -> Worker<'a> {
        let (moments, changed, scales) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Worker { job, journal, log, moments, changed, scales }
    }

    /// Finds the scales of a layer's values, the last first: what makes a value may read another.
    fn rescale(&mut self, layer: &Layer, mut moments: BTreeMap<Value, Moments>) -> Result<()> {
        for group in model::groups(layer).iter().rev() {
            let (Some(absorber), Some(moments)) = (&group.absorb, moments.remove(&group.input)) else { continue };
            let moments = moments.whole();
            if let Some(channel) = moments.not_finite() {
                let tensor = group.weights[0].name.clone();
                return Err(Error::Activation { tensor, channel });
            }
            let weights = group.weights.iter().map(|w| self.weight(w)).collect::<Result<Vec<_>>>()?;
            let largest = largest(&weights);
            let codecs =
                group.weights.iter().filter_map(|w| self.job.destination.codec(w, largest)).collect::<Vec<_>>();
            let readers: Vec<Reader<'_>> = (group.weights.iter().zip(&weights).zip(&codecs))
                .map(|((w, weights), codec)| Reader { name: &w.name, weights, codec: codec.as_ref() })
                .collect();
            let maker: Vec<usize> = (0..moments.width()).collect();
            let vector = absorber.weight.shape.len() == 1;
            let made = self.weight(absorber.weight)?;
            let stored = |scale: &[f32]| -> Vec<f32> {
                if !vector {
                    return scale.to_vec();
                }
                // What the columns get is exactly what the stored vector lost.
                let old = &made[absorber.rows.clone()];
                let new: Vec<f32> = old.iter().zip(scale).map(|(old, scale)| old / scale).collect();
                let new = self.job.destination.stored(absorber.weight, &new);
                let exact = |(old, new): (&f32, &f32)| if *new == 0.0 { 1.0 } else { old / new };
                old.iter().zip(&new).map(exact).collect()
            };
            let channels = Channels { moments: &moments, maker: &maker, count: maker.len(), stored: &stored };
            let Some(found) = method::scaling(self.job.settings.isa, &channels, &readers) else { continue };
            self.log.scaled.push(Scaled { maker: absorber.weight.name.clone(), loss: [found.before, found.after] });
            self.divide(absorber.weight, made, absorber.rows.start, &found.scale);
            if let Some(bias) = absorber.bias {
                let values = self.weight(bias)?;
                self.divide(bias, values, absorber.rows.start, &found.scale);
            }
            self.scales.insert(group.input, found.scale);
        }
        Ok(())
    }

    /// Divides rows, or elements of a vector, from `first` on.
    fn divide(&mut self, param: &Param, mut values: Vec<f32>, first: usize, scale: &[f32]) {
        let cols = if param.shape.len() == 1 { 1 } else { param.shape.last().copied().unwrap_or(1) };
        for (row, scale) in values.chunks_mut(cols).skip(first).zip(scale) {
            for w in row {
                *w /= scale;
            }
        }
        self.changed.insert(param.name.clone(), values);
    }

    /// As it is at the moment.
    fn weight(&self, param: &Param) -> Result<Vec<f32>> {
        match self.changed.get(&param.name) {
            Some(values) => Ok(values.clone()),
            None => executor::decoded(self.job.settings.isa, self.job.source, param),
        }
    }

    /// As it is to be rounded: its columns scaled.
    fn taken(&mut self, weight: &Param, scale: Option<&[f32]>) -> Result<Vec<f32>> {
        let mut values = self.weight(weight)?;
        self.changed.remove(&weight.name);
        if let Some(scale) = scale {
            values.chunks_mut(scale.len()).for_each(|row| row.iter_mut().zip(scale).for_each(|(w, s)| *w *= s));
        }
        Ok(values)
    }

    fn solve(&mut self, weight: &Param, moments: &Moments, values: &[f32], largest: f32) -> Result<Option<Vec<f32>>> {
        let start = Instant::now();
        let Some(codec) = self.job.destination.codec(weight, largest) else { return Ok(None) };
        let isa = self.job.settings.isa;
        let task = Task { isa, name: &weight.name, cols: moments.width(), codec: codec.as_ref(), moments };
        let whole_blocks = codec.block_len() > 1 && codec.rounder(isa, 1).is_none();
        let rounded = if whole_blocks { Nearest.round(&task, values) } else { self.job.method.round(&task, values) }?;
        self.job.destination.put(weight, largest, &rounded.blocks)?;
        if let Some(journal) = &mut self.journal {
            journal.note(&weight.name, &[&largest.to_le_bytes(), &rounded.blocks[..]].concat());
        }
        self.log.solved.push(Solved {
            name: weight.name.clone(),
            ty: codec.name().to_owned(),
            account: rounded.account,
            whole_blocks,
            elapsed: start.elapsed(),
        });
        Ok(Some(rounded.values))
    }
}

/// Adds what flows through a value, where the program runs.
fn add(moments: &mut Moments, settings: &Settings, x: &[f32]) -> Result<()> {
    match settings.place {
        Place::Cpu => moments.add(settings.isa, x, settings.precision),
        #[cfg(feature = "cuda")]
        Place::Cuda(cuda) => moments.add_on(cuda, x)?,
    }
    Ok(())
}

/// The largest magnitude of all weights.
fn largest(weights: &[Vec<f32>]) -> f32 {
    weights.iter().flatten().fold(0.0, |largest, w| w.abs().max(largest))
}

impl Stages for Worker<'_> {
    /// All experts of a stack share what flows into any of them: so every one is covered, whoever the tokens went to.
    fn see(&mut self, layer: &Layer, value: Value, x: &[f32]) -> Result<()> {
        let width = layer.ops.iter().filter_map(model::Op::reads).find(|(read, _)| *read == value);
        let Some((_, weight)) = width else { return Ok(()) };
        let moments =
            self.moments.entry(value).or_insert_with(|| Moments::new(weight.shape.last().copied().unwrap_or(1)));
        add(moments, &self.job.settings, x)
    }

    fn decide(&mut self, layer: &Layer, value: Value) -> Result<BTreeMap<String, Vec<f32>>> {
        let mut decided = BTreeMap::new();
        let Some(moments) = self.moments.remove(&value) else { return Ok(decided) };
        let mut moments = moments.whole();
        let scale = self.scales.remove(&value);
        if let Some(scale) = scale.as_deref().filter(|_| self.job.from_original) {
            // The value was made without it.
            moments = moments.divided(scale);
        }
        let readers = layer.ops.iter().filter_map(model::Op::reads).filter(|(read, _)| *read == value);
        let readers: Vec<&Param> = readers.map(|(_, weight)| weight).collect();
        let values = readers.iter().map(|w| self.taken(w, scale.as_deref())).collect::<Result<Vec<_>>>()?;
        let largest = largest(&values);
        for (weight, values) in readers.into_iter().zip(values) {
            let values = self.solve(weight, &moments, &values, largest)?.filter(|_| !self.job.from_original);
            decided.extend(values.map(|values| (weight.name.clone(), values)));
        }
        Ok(decided)
    }

    fn vectors(&mut self, layer: &Layer) -> Result<BTreeMap<String, Vec<f32>>> {
        let mut vectors = BTreeMap::new();
        for param in layer.params().filter(|param| param.shape.len() == 1) {
            if let Some(values) = self.changed.remove(&param.name) {
                let values = self.job.destination.stored(param, &values);
                self.job.destination.put_vector(param, &values)?;
                if let Some(journal) = &mut self.journal {
                    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    journal.note(&param.name, &bytes);
                }
                if !self.job.from_original {
                    vectors.insert(param.name.clone(), values);
                }
            }
        }
        Ok(vectors)
    }
}
