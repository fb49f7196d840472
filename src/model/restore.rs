//! Which tensors the checkpoint had that a GGUF was made of, and where in the GGUF each is: [`release`](super::release)
//! the other way round.

use std::collections::{BTreeMap, BTreeSet};

use planish_formats::Info;

use super::{Architecture, Config, Error, Gather, Model, Param, Result, Strand, Tensor};

/// All tensors of the checkpoint whose GGUF has the tensors `gguf`, in the order of execution. Each one that comes from
/// the GGUF is there and of the right shape; the GGUF has no tensor of which nothing is known.
pub fn restore<S>(architecture: &Architecture, config: &Config, gguf: &[Info<S>]) -> Result<Vec<Tensor>> {
    let model = released(architecture, config, gguf)?;
    let (mut known, mut tensors, mut picked) = (BTreeSet::new(), vec![], Picked::new());
    let params = model.params().map(|(layer, p)| (layer.block, p)).chain(model.tables.iter().map(|p| (None, p)));
    for (block, param) in params {
        if known.insert(param.name.as_str()) {
            tensors.extend(originals(architecture, block, param, &mut picked)?);
        }
    }
    for (name, parts) in picked {
        tensors.push(woven(architecture, name, &parts)?);
    }
    Ok(tensors)
}

/// The program whose GGUF has just the tensors `gguf`, each of the right shape: over the names of a checkpoint, as
/// [`Architecture::program`] writes it.
pub fn released<S>(architecture: &Architecture, config: &Config, gguf: &[Info<S>]) -> Result<Model> {
    architecture.held(config)?;
    let found: BTreeMap<&str, &[usize]> = gguf.iter().map(|i| (i.name.as_str(), i.shape.as_slice())).collect();
    // The usual root: a class with a head, as config_json names.
    let model = architecture.program(config, |_| false)?;
    let params = model.params().map(|(_, p)| p).chain(&model.tables);
    let (mut known, mut missing) = (BTreeSet::new(), vec![]);
    for param in params {
        if !known.insert(param.name.as_str()) {
            continue;
        }
        match found.get(param.name.as_str()) {
            None => missing.push(param.name.clone()),
            Some(shape) if *shape != param.shape => {
                let (tensor, found, expected) = (param.name.clone(), shape.to_vec(), param.shape.clone());
                return Err(Error::Shape { tensor, found, expected });
            }
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        return Err(Error::MissingTensors { tensors: missing });
    }
    let unexpected: Vec<String> =
        found.keys().filter(|name| !known.contains(*name)).map(|&name| name.to_owned()).collect();
    if unexpected.is_empty() {
        Ok(model)
    } else {
        Err(Error::UnexpectedTensors { architecture: architecture.name, tensors: unexpected })
    }
}

/// Parts of a tensor of the checkpoint that several of the GGUF's were made of: by its name the first row of each part,
/// how many rows repeat, how many the part has, and the GGUF's tensor.
type Picked<'a> = BTreeMap<String, BTreeMap<usize, (usize, usize, Option<usize>, &'a Param)>>;

/// The checkpoint's tensors that became `param`; none if it was computed, or if others became it too: then it is left in
/// `picked`.
fn originals<'a>(
    architecture: &Architecture,
    block: Option<usize>,
    param: &'a Param,
    picked: &mut Picked<'a>,
) -> Result<Vec<Tensor>> {
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
        Gather::Ungrouped { name, groups, dim } => (name, Gather::Grouped { name: gguf(), groups, dim }),
        Gather::Grouped { name, groups, dim } => (name, Gather::Ungrouped { name: gguf(), groups, dim }),
        Gather::Shifted { name, by } => (name, Gather::Shifted { name: gguf(), by: -by }),
        Gather::Stacked(names) => {
            let shape: Vec<usize> = shape.iter().skip(1).copied().collect();
            let rows = shape.iter().rev().skip(1).product::<usize>();
            let one = |(i, name): (usize, String)| Tensor {
                gather: Gather::Rows(gguf(), i * rows, (i + 1) * rows),
                name,
                role: param.role,
                block,
                shape: shape.clone(),
                keep_f32: false,
            };
            return Ok(names.into_iter().enumerate().map(one).collect());
        }
        Gather::Picked { name, per, from, to } | Gather::Heads { name, per, from, to, .. } => {
            picked.entry(name).or_default().insert(from, (per, to.saturating_sub(from), block, param));
            return Ok(vec![]);
        }
        Gather::Columns { name, step, first } | Gather::Every { name, step, first } => {
            picked.entry(name).or_default().insert(first, (step, 1, block, param));
            return Ok(vec![]);
        }
        Gather::Computed(_) => return Ok(vec![]),
        Gather::Rows(..) | Gather::Woven(_) | Gather::OfHeads(_) | Gather::Zipped { .. } => {
            return Err(Error::NotRestored { architecture: architecture.name, tensor: gguf() });
        }
    };
    Ok(vec![Tensor { name, role: param.role, block, gather, shape, keep_f32: false }])
}

/// The checkpoint's tensor of which each of `parts` took some rows.
fn woven(
    architecture: &Architecture,
    name: String,
    parts: &BTreeMap<usize, (usize, usize, Option<usize>, &Param)>,
) -> Result<Tensor> {
    let last = parts.values().next_back().copied();
    let Some((per, rows, block, param)) = last else {
        return Err(Error::NotRestored { architecture: architecture.name, tensor: name });
    };
    let mut next = 0;
    for (from, (_, rows, ..)) in parts {
        if *from != next {
            return Err(Error::NotRestored { architecture: architecture.name, tensor: param.name.clone() });
        }
        next += rows;
    }
    if next != per {
        return Err(Error::NotRestored { architecture: architecture.name, tensor: param.name.clone() });
    }
    let names = || parts.values().map(|(_, _, _, param)| param.name.clone()).collect();
    let zipped = match &param.from {
        Gather::Columns { .. } => Some(Gather::Zipped { names: names(), transposed: true }),
        Gather::Every { .. } => Some(Gather::Zipped { names: names(), transposed: false }),
        _ => None,
    };
    if let Some(gather) = zipped {
        let shape = param.from.sources(&param.shape).pop().map(|(_, shape)| shape).unwrap_or_default();
        return Ok(Tensor { name, role: param.role, block, gather, shape, keep_f32: false });
    }
    if let Gather::Heads { .. } = &param.from {
        let turned = |param: &Param| matches!(param.from, Gather::Heads { turned: true, .. });
        let strand = |(rows, param): (usize, &Param)| Strand { name: param.name.clone(), rows, turned: turned(param) };
        let strands = parts.values().map(|(_, rows, _, param)| strand((*rows, param))).collect();
        let shape = param.from.sources(&param.shape).pop().map(|(_, shape)| shape).unwrap_or_default();
        let gather = Gather::OfHeads(strands);
        return Ok(Tensor { name, role: param.role, block, gather, shape, keep_f32: false });
    }
    let picked = Gather::Picked { name: name.clone(), per, from: per - rows, to: per };
    let shape = picked.sources(&param.shape).pop().map(|(_, shape)| shape).unwrap_or_default();
    let gather = Gather::Woven(parts.values().map(|(_, rows, _, param)| (param.name.clone(), *rows)).collect());
    Ok(Tensor { name, role: param.role, block, gather, shape, keep_f32: false })
}
