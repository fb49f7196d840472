//! Which tensors the checkpoint had that a GGUF was made of, and where in the GGUF each is: [`release`](super::release)
//! the other way round.

use std::collections::{BTreeMap, BTreeSet};

use planish_formats::Info;

use super::{Architecture, Config, Error, Gather, Param, Result, Tensor};

/// All tensors of the checkpoint whose GGUF has the tensors `gguf`, in the order of execution. Each one that comes from
/// the GGUF is there and of the right shape; the GGUF has no tensor of which nothing is known.
pub fn restore<S>(architecture: &Architecture, config: &Config, gguf: &[Info<S>]) -> Result<Vec<Tensor>> {
    architecture.held(config)?;
    let found: BTreeMap<&str, &[usize]> = gguf.iter().map(|i| (i.name.as_str(), i.shape.as_slice())).collect();
    // The usual root: a class with a head, as config_json names.
    let model = architecture.program(config, |_| false)?;
    let params = model.params().map(|(layer, p)| (layer.block, p)).chain(model.tables.iter().map(|p| (None, p)));
    let (mut known, mut missing, mut tensors) = (BTreeSet::new(), vec![], vec![]);
    for (block, param) in params {
        if !known.insert(param.name.as_str()) {
            continue;
        }
        match found.get(param.name.as_str()) {
            None => missing.push(param.name.clone()),
            Some(shape) if *shape != param.shape => {
                let (tensor, found, expected) = (param.name.clone(), shape.to_vec(), param.shape.clone());
                return Err(Error::Shape { tensor, found, expected });
            }
            Some(_) => tensors.extend(original(architecture, block, param)?),
        }
    }
    if !missing.is_empty() {
        return Err(Error::MissingTensors { tensors: missing });
    }
    let unexpected: Vec<String> =
        found.keys().filter(|name| !known.contains(*name)).map(|&name| name.to_owned()).collect();
    if unexpected.is_empty() {
        Ok(tensors)
    } else {
        Err(Error::UnexpectedTensors { architecture: architecture.name, tensors: unexpected })
    }
}

/// The checkpoint's tensor that became `param`; `None` if it was computed.
fn original(architecture: &Architecture, block: Option<usize>, param: &Param) -> Result<Option<Tensor>> {
    let gguf = || param.name.clone();
    let mut shape = param.shape.clone();
    let (name, gather) = match param.in_gguf() {
        Gather::Whole(name) => (name, Gather::Whole(gguf())),
        Gather::Transposed(name) => {
            shape.reverse();
            (name, Gather::Transposed(gguf()))
        }
        Gather::Paired { name, heads } => (name, Gather::Unpaired { name: gguf(), heads }),
        Gather::Unpaired { name, heads } => (name, Gather::Paired { name: gguf(), heads }),
        Gather::Computed(_) => return Ok(None),
        Gather::Rows(..) | Gather::Stacked(_) => {
            return Err(Error::NotRestored { architecture: architecture.name, tensor: gguf() });
        }
    };
    Ok(Some(Tensor { name, role: param.role, block, gather, shape, keep_f32: false }))
}
