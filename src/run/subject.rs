//! A checkpoint as a model that can be run.

use planish_formats::{Dtype, Storage};
use planish_kernels::Isa;

use super::{Error, Result, Scratch, Weight};
use crate::checkpoint::{About, Checkpoint};
use crate::model::{self, Architecture, Config, Gather, Model, Role, RopeTables};

/// What is run: a program over the tensors of one checkpoint.
#[derive(Clone)]
pub struct Subject {
    /// Whose program it is.
    pub architecture: &'static Architecture,
    /// The configuration, read from config.json or from the keys of a GGUF.
    pub config: Config,
    /// The program; every weight in it is in the checkpoint and has the right shape.
    pub model: Model,
}

impl Subject {
    /// The program of `checkpoint`, whose every tensor is known to be there and to fit.
    pub fn of(checkpoint: &Checkpoint) -> Result<Subject> {
        let infos = checkpoint.source.infos();
        match &checkpoint.about {
            About::HuggingFace { config, .. } => {
                let architecture = model::architecture(config)?;
                let config = architecture.config(config)?;
                let model = model::runnable(architecture, &config, infos)?;
                Ok(Subject { architecture, config, model })
            }
            About::Gguf(kv) => {
                let tables = rope_tables(checkpoint)?;
                let json = model::config_json(kv, infos, &tables).map_err(model::Error::Header)?;
                let architecture = model::architecture(&json)?;
                let config = architecture.config(&json)?;
                // Compares every tensor of the file with what the program asks for.
                let model = model::released(architecture, &config, infos)?.over_gguf();
                Ok(Subject { architecture, config, model })
            }
        }
    }
}

/// The tables that rope scalings are written as in a GGUF.
pub fn rope_tables(checkpoint: &Checkpoint) -> Result<RopeTables> {
    let mut tables = RopeTables::new();
    for role in [Role::RopeFreqs, Role::RopeLong, Role::RopeShort] {
        let name = format!("{}.weight", role.gguf());
        let Some(info) = checkpoint.source.info(&name) else { continue };
        if info.storage != Storage::Plain(Dtype::F32) || info.shape.len() != 1 {
            return Err(Error::NotWeights { tensor: name, found: info.storage.name() });
        }
        let gather = Gather::Whole(name);
        let weight = Weight::new(&checkpoint.source, &gather, &info.shape)?;
        let mut values = vec![0.0; weight.cols];
        weight.read(Isa::detected(), 0..1, &mut Scratch::default(), &mut values)?;
        tables.insert(role, values);
    }
    Ok(tables)
}
