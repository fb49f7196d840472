//! Runs a program from token ids to hidden states and logits, one layer at a time.
//!
//! A layer's weights are loaded once, all sequences run through it, and the weights are dropped. What stays between
//! layers is the hidden state of every token, in memory or, past a limit, in a temporary file. Logits are made in tiles
//! of the vocabulary, for the tokens that are asked for.

mod activations;
mod buffers;
mod carry;
mod error;
mod experts;
mod fit;
mod head;
mod heads;
mod layer;
#[cfg(feature = "cuda")]
mod on_device;
mod ready;
mod seen;
mod settings;
mod staged;
mod tap;
mod weights;

pub use activations::Activations;
pub use error::{Error, Result};
pub use head::{Head, Tile};
pub use seen::{Image, Places, see};
pub use settings::Settings;
pub use staged::Stages;
pub use tap::{ExpertRows, Tap};
pub(super) use weights::decoded;

use std::ops::Range;
use std::sync::Arc;

use planish_kernels::cpu::Turns;

use crate::dialect::Tensors;
use crate::model::{Carry, Frequencies, Layer, Logits, Model, Objective, Op};
use buffers::Buffers;
use fit::{check, embedded};
use layer::{Flow, Group};
use ready::Ready;
use weights::Loaded;

/// Rows that run through a layer at once: enough to pay for packing the weights.
const ROWS: std::ops::RangeInclusive<usize> = 1024..=4096;
/// Elements of the widest value of so many rows, which should stay in a third-level cache.
const ELEMENTS: usize = 1 << 22;

/// What a stack reads: whole sequences, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Of all sequences.
    pub ids: &'a [u32],
    /// Ids of each.
    pub tokens: usize,
    /// How many of its ids each sequence really has, at least one, where attention looks both ways; what follows is not
    /// seen. All of them without.
    pub lengths: Option<&'a [usize]>,
}

/// A stack and what it reads.
struct Part<'a> {
    input: Input<'a>,
    /// Its first layer, counted over all stacks.
    first: usize,
    /// Elements of a hidden state.
    width: usize,
}

/// A program on its way through its layers.
pub struct Executor<'a> {
    source: &'a Tensors,
    layers: Vec<&'a Layer>,
    objective: Objective,
    parts: Vec<Part<'a>>,
    settings: Settings,
    next: usize,
    /// The stack whose states are in `hidden`.
    stack: usize,
    /// That run through a layer at once, about.
    rows: usize,
    hidden: carry::Hidden,
    /// What the stack before ended with.
    encoded: Option<carry::Hidden>,
    buffers: Buffers,
    turns: Vec<(Arc<Frequencies>, Arc<Turns>)>,
    places: Option<Places>,
}

impl<'a> Executor<'a> {
    /// Starts `model`, whose weights are in `source`, on whole sequences of `tokens` ids, one after another.
    pub fn new(
        model: &'a Model,
        source: &'a Tensors,
        ids: &'a [u32],
        tokens: usize,
        settings: Settings,
    ) -> Result<Executor<'a>> {
        Executor::over(model, source, &[Input { ids, tokens, lengths: None }], settings)
    }

    /// Starts `model` with an input for each of its stacks, of as many sequences; with one for all, every stack reads it.
    pub fn over(
        model: &'a Model,
        source: &'a Tensors,
        inputs: &[Input<'a>],
        settings: Settings,
    ) -> Result<Executor<'a>> {
        let (mut parts, mut first) = (vec![], 0);
        for (stack, input) in model.stacks.iter().zip(inputs.iter().chain(inputs.last().into_iter().cycle())) {
            let Input { ids, tokens, lengths } = *input;
            let count = ids.len().checked_div(tokens).filter(|count| count * tokens == ids.len());
            let whole = count.is_some_and(|count| {
                let same = parts.first().is_none_or(|part: &Part<'_>| part.count() == count);
                same && lengths.is_none_or(|l| l.len() == count && l.iter().all(|l| (1..=tokens).contains(l)))
            });
            if !whole {
                return Err(Error::Sequences { ids: ids.len(), tokens });
            }
            for op in stack.layers.iter().flat_map(|layer| &layer.ops) {
                check(op, ids, tokens)?;
            }
            let width = stack.layers.first().and_then(embedded).ok_or(Error::NoEmbedding)?;
            parts.push(Part { input: *input, first, width });
            first += stack.layers.len();
        }
        let layers: Vec<&Layer> = model.stacks.iter().flat_map(|stack| &stack.layers).collect();
        let part = parts.first().ok_or(Error::NoEmbedding)?;
        let width = part.width;
        let hidden = carry::Hidden::new(part.input.ids.len(), width, settings.memory)?;
        // The head goes another way.
        let through = layers.len() - usize::from(model.objective.has_head()).min(layers.len());
        let widest = layers[..through].iter().flat_map(|layer| &layer.ops).filter_map(|op| match op {
            Op::Linear { w, .. } => w.shape.iter().max(),
            _ => None,
        });
        Ok(Executor {
            source,
            objective: model.objective,
            parts,
            settings,
            next: 0,
            stack: 0,
            rows: (ELEMENTS / widest.max().copied().unwrap_or(width).max(1)).clamp(*ROWS.start(), *ROWS.end()),
            hidden,
            encoded: None,
            buffers: Buffers::default(),
            turns: vec![],
            places: None,
            layers,
        })
    }

    /// How many calls of [`Executor::step`] there are: all layers but the one that makes logits.
    pub fn steps(&self) -> usize {
        self.layers.len().saturating_sub(usize::from(self.objective.has_head()))
    }

    /// Elements of a hidden state, in the stack that was run last.
    pub fn width(&self) -> usize {
        self.part().width
    }

    /// Tokens of a sequence there.
    pub fn tokens(&self) -> usize {
        self.part().input.tokens
    }

    /// Tokens of all sequences there.
    pub fn rows(&self) -> usize {
        self.part().input.ids.len()
    }

    /// Whether this one of them is a token, not what follows a shorter sequence.
    pub fn has(&self, row: usize) -> bool {
        let Input { tokens, lengths, .. } = self.part().input;
        let length = lengths.and_then(|lengths| lengths.get(row / tokens));
        length.is_none_or(|length| row % tokens < *length)
    }

    fn part(&self) -> &Part<'a> {
        &self.parts[self.stack]
    }

    /// Goes over to the stack of the next layer: what the one before ended with is what it left encoded.
    fn enter(&mut self) -> Result<()> {
        while let Some(part) = self.parts.get(self.stack + 1).filter(|part| part.first <= self.next) {
            let memory = self.settings.memory.saturating_sub(self.hidden.in_memory());
            let hidden = carry::Hidden::new(part.input.ids.len(), part.width, memory)?;
            self.encoded = Some(std::mem::replace(&mut self.hidden, hidden));
            self.stack += 1;
        }
        Ok(())
    }

    /// Runs the next layer over all sequences; `None` after the last.
    pub fn step(&mut self) -> Result<Option<&'a Layer>> {
        self.step_with(None)
    }

    /// [`Executor::step`], with somebody looking on.
    pub fn step_with(&mut self, tap: Option<&mut dyn Tap>) -> Result<Option<&'a Layer>> {
        let layer = self.pass(tap, true)?;
        self.next += usize::from(layer.is_some());
        Ok(layer)
    }

    /// Shows `tap` the next layer's values without making the step; `None` after the last.
    pub fn look(&mut self, tap: &mut dyn Tap) -> Result<Option<&'a Layer>> {
        self.pass(Some(tap), false)
    }

    /// Runs the next layer over all sequences; with `keep`, what it makes takes the place of the hidden states.
    fn pass(&mut self, mut tap: Option<&mut dyn Tap>, keep: bool) -> Result<Option<&'a Layer>> {
        if self.next >= self.steps() {
            return Ok(None);
        }
        self.enter()?;
        let layer = self.layers[self.next];
        let weights =
            Ready::new(&self.settings, &layer.ops, Loaded::layer(self.settings.isa, self.source, &layer.ops)?)?;
        for sequences in self.groups() {
            let group = self.group(&sequences);
            let flow = self.flow(&layer.ops, &sequences)?;
            let tap: Option<&mut dyn Tap> = match &mut tap {
                Some(tap) => Some(&mut **tap),
                None => None,
            };
            let result = self.run(&layer.ops, layer, &weights, &group, flow, tap)?;
            if let Some(hidden) = result {
                if keep {
                    self.hidden.write(sequences.start * group.tokens, &hidden)?;
                }
                self.buffers.give(hidden);
            }
        }
        Ok(Some(layer))
    }

    /// The sequences that run through a layer together.
    fn groups(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let longest = self.parts.iter().map(|part| part.input.tokens).max().unwrap_or(1);
        let (all, step) = (self.part().count(), (self.rows / longest).max(1));
        (0..all).step_by(step).map(move |first| first..all.min(first + step))
    }

    fn group(&self, sequences: &Range<usize>) -> Group<'a> {
        let Input { ids, tokens, lengths } = self.part().input;
        let before = self.stack.checked_sub(1).map(|before| self.parts[before].input);
        let rows = sequences.start * tokens..sequences.end * tokens;
        let of = |lengths: Option<&'a [usize]>| lengths.map(|lengths| &lengths[sequences.clone()]);
        Group {
            rows: rows.len(),
            ids: &ids[rows],
            tokens,
            lengths: of(lengths),
            across: before.map_or(0, |input| input.tokens),
            across_lengths: before.and_then(|input| of(input.lengths)),
        }
    }

    /// What these ops read of what layers before left.
    fn flow(&mut self, ops: &[Op], sequences: &Range<usize>) -> Result<Flow> {
        let Executor { parts, stack, hidden, encoded, buffers, .. } = self;
        let mut read = |carry: Carry, states: Option<&carry::Hidden>, part: Option<&Part<'_>>| {
            let (Some(states), Some(part)) = (states, part) else { return Ok(vec![]) };
            if !ops.iter().any(|op| matches!(op, Op::Carried(asked) if *asked == carry)) {
                return Ok(vec![]);
            }
            let mut out = buffers.take(sequences.len() * part.input.tokens * part.width);
            states.read(sequences.start * part.input.tokens, &mut out)?;
            Ok::<_, Error>(out)
        };
        let before = stack.checked_sub(1).and_then(|before| parts.get(before));
        Ok(Flow {
            hidden: read(Carry::Hidden, Some(hidden), parts.get(*stack))?,
            encoded: read(Carry::Encoded, encoded.as_ref(), before)?,
        })
    }

    /// All that later layers may read, sequence after sequence, a piece at a time; `None` after the last.
    pub fn piece(&self, piece: usize, out: &mut Vec<f32>) -> Result<Option<()>> {
        let count = self.part().count();
        let (states, part, sequence) = match (&self.encoded, self.stack.checked_sub(1)) {
            (Some(encoded), Some(before)) if piece < count => (encoded, &self.parts[before], piece),
            (Some(_), Some(_)) => (&self.hidden, self.part(), piece - count),
            _ => (&self.hidden, self.part(), piece),
        };
        if sequence >= count {
            return Ok(None);
        }
        out.resize(part.input.tokens * part.width, 0.0);
        states.read(sequence * part.input.tokens, out)?;
        Ok(Some(()))
    }

    /// Goes on after `done` steps that another executor made: `states` gives what [`Executor::piece`] gave after them, in
    /// order.
    pub fn resume(&mut self, done: usize, states: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        let done = done.min(self.steps());
        self.next = done.saturating_sub(1);
        self.enter()?;
        self.next = done;
        let before = self.stack.checked_sub(1).map(|before| &self.parts[before]);
        let places = before.zip(self.encoded.as_mut()).into_iter().chain([(&self.parts[self.stack], &mut self.hidden)]);
        for (part, place) in places {
            let tokens = part.input.tokens;
            let mut piece = vec![0.0; tokens * part.width];
            for sequence in 0..part.count() {
                states(&mut piece)?;
                place.write(sequence * tokens, &piece)?;
            }
        }
        Ok(())
    }

    /// The hidden states of these tokens after the last step, `[rows, width]`.
    pub fn hidden(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        assert_eq!(out.len(), rows.len() * self.width(), "hidden states of {} rows", rows.len());
        self.hidden.read(rows.start, out)
    }

    /// The head over these tokens, once every step was made; `None` for a model without one.
    pub fn head(&mut self, rows: &[usize]) -> Result<Option<Head<'a>>> {
        if self.next < self.steps() || !self.objective.has_head() {
            return Ok(None);
        }
        let Some(layer) = self.layers.last().copied() else { return Ok(None) };
        let Logits { before: ops, x, w, bias, cap } = layer.head().ok_or(Error::NoHead)?;
        let weights = Ready::new(&self.settings, ops, Loaded::layer(self.settings.isa, self.source, ops)?)?;
        let width = self.width();
        let mut hidden = self.buffers.take(rows.len() * width);
        for (&row, out) in rows.iter().zip(hidden.chunks_exact_mut(width)) {
            self.hidden.read(row, out)?;
        }
        let flow = Flow { hidden, ..Flow::default() };
        // Rows of the head are tokens of their own: it has no op that looks at others.
        let (lengths, across_lengths) = (None, None);
        let group = Group { ids: &[], tokens: 1, rows: rows.len(), lengths, across: 0, across_lengths };
        let until = Layer { results: vec![(Carry::Hidden, x)], ..layer.clone() };
        let x = self.run(ops, &until, &weights, &group, flow, None)?.ok_or(Error::NoHead)?;
        Ok(Some(Head::new(self.settings, self.source, x, w, bias, cap)?))
    }

    /// Shows `tap` what the head reads for every token, once every step was made. Makes no logits.
    pub fn tap_head(&mut self, tap: &mut dyn Tap) -> Result<()> {
        let Some(layer) = self.layers.last().copied() else { return Ok(()) };
        if self.next < self.steps() || !self.objective.has_head() {
            return Ok(());
        }
        let Logits { before: ops, x, .. } = layer.head().ok_or(Error::NoHead)?;
        let weights = Ready::new(&self.settings, ops, Loaded::layer(self.settings.isa, self.source, ops)?)?;
        let until = Layer { results: vec![(Carry::Hidden, x)], ..layer.clone() };
        for sequences in self.groups() {
            let group = self.group(&sequences);
            let flow = self.flow(ops, &sequences)?;
            let read = self.run(ops, &until, &weights, &group, flow, None)?.ok_or(Error::NoHead)?;
            tap.value(layer, x, &read)?;
            self.buffers.give(read);
        }
        Ok(())
    }

    fn run(
        &mut self,
        ops: &[Op],
        layer: &Layer,
        weights: &Ready<'_>,
        group: &Group<'_>,
        flow: Flow,
        tap: Option<&mut dyn Tap>,
    ) -> Result<Option<Vec<f32>>> {
        for op in ops {
            self.turns_of(op);
        }
        let Executor { settings, buffers, turns, .. } = self;
        weights.run(settings, buffers, ops, layer, group, flow, find(turns), tap)
    }

    /// Makes the sines of a rope once for all layers.
    fn turns_of(&mut self, op: &Op) {
        let Op::Rope { table, .. } = op else { return };
        let tokens = self.tokens();
        if !self.turns.iter().any(|(other, _)| Arc::ptr_eq(table, other)) {
            let plain = || Turns::new(table.of(tokens), table.scale, tokens);
            let turns = self.places.as_ref().map_or_else(plain, |places| places.turns(table));
            self.turns.push((table.clone(), Arc::new(turns)));
        }
    }
}

impl Part<'_> {
    /// Its sequences.
    fn count(&self) -> usize {
        self.input.ids.len().checked_div(self.input.tokens).unwrap_or(0)
    }
}

/// Sines that were made before.
type Made = [(Arc<Frequencies>, Arc<Turns>)];

fn find(made: &Made) -> impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>> {
    |table| made.iter().find(|(other, _)| Arc::ptr_eq(table, other)).map(|(_, turns)| turns.clone())
}
