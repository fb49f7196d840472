//! The weights of a layer where its ops run.

use std::sync::Arc;

use planish_kernels::cpu::Turns;

use super::buffers::Buffers;
use super::layer::{self, Flow, Group};
use super::weights::Loaded;
use super::{Result, Settings, Tap};
use crate::model::{Frequencies, Layer, Op, Value};
#[cfg(feature = "cuda")]
use {
    super::on_device::{Placed, Run, place},
    crate::run::Place,
    planish_kernels::cuda::Cuda,
};

/// A layer's weights, ready to be run by any number of groups.
pub(super) struct Ready<'a> {
    loaded: Vec<Loaded<'a>>,
    #[cfg(feature = "cuda")]
    placed: Vec<Placed<Cuda>>,
}

impl<'a> Ready<'a> {
    /// Copies what `ops` need to where they run.
    #[cfg_attr(not(feature = "cuda"), allow(clippy::unnecessary_wraps, unused_variables))]
    pub(super) fn new(settings: &Settings, ops: &[Op], loaded: Vec<Loaded<'a>>) -> Result<Ready<'a>> {
        #[cfg(feature = "cuda")]
        let placed = match settings.place {
            Place::Cpu => vec![],
            Place::Cuda(cuda) => place(cuda, ops, &loaded)?,
        };
        Ok(Ready {
            loaded,
            #[cfg(feature = "cuda")]
            placed,
        })
    }

    /// How many ops they are for.
    pub(super) fn len(&self) -> usize {
        self.loaded.len()
    }

    /// See [`layer::run`].
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run(
        &self,
        settings: &Settings,
        buffers: &mut Buffers,
        ops: &[Op],
        layer: &Layer,
        group: &Group<'_>,
        flow: Flow,
        turns: impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>>,
        tap: Option<&mut dyn Tap>,
    ) -> Result<Option<Vec<f32>>> {
        #[cfg(feature = "cuda")]
        if let Place::Cuda(device) = settings.place {
            let (weights, placed) = (&self.loaded[..], &self.placed[..]);
            let run = Run { device, settings, ops, weights, placed, group, flow: &flow };
            let made = run.layer(buffers, layer, turns, tap)?;
            flow.give(buffers);
            return Ok(made);
        }
        layer::run(settings, buffers, ops, layer, &self.loaded, group, flow, turns, tap)
    }

    /// See [`layer::run_on`].
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_on(
        &self,
        settings: &Settings,
        buffers: &mut Buffers,
        ops: &[Op],
        made: Vec<Option<Vec<f32>>>,
        group: &Group<'_>,
        flow: Flow,
        turns: impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>>,
        keep: &[Value],
    ) -> Result<Vec<Option<Vec<f32>>>> {
        #[cfg(feature = "cuda")]
        if let Place::Cuda(device) = settings.place {
            let (weights, placed) = (&self.loaded[..], &self.placed[..]);
            let run = Run { device, settings, ops, weights, placed, group, flow: &flow };
            let made = run.part(buffers, made, turns, keep)?;
            flow.give(buffers);
            return Ok(made);
        }
        layer::run_on(settings, buffers, ops, made, &self.loaded, group, flow, turns, keep)
    }
}
