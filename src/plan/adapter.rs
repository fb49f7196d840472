//! A LoRA adapter as a GGUF of its own, which llama.cpp adds to a model that it has loaded (its own --lora).
//!
//! Of each weight `[out, in]` that something is added to there are two tensors: `NAME.lora_a`, `[rank, in]`, and `NAME.lora_b`,
//! `[out, rank]`, of stacked experts one after another. llama.cpp adds `scale lora_b lora_a`; with `adapter.lora.alpha` above 0
//! that scale is alpha over the tensor's rank, without one it is 1. An embedding's `lora_a` has a row for each token.

use std::collections::BTreeSet;
use std::path::Path;

use planish_formats::gguf::Kv;
use planish_formats::{Dtype, GgmlType, Storage};

use super::{Choice, Error, Job, Planned, Recipe, Result, Why};
use crate::checkpoint::{About, Card, Checkpoint};
use crate::dialect::{Delta, Stored, Tensors};
use crate::model::{self, Gather, Model, Op, Role, Tensor};

/// The types that an adapter's tensors may have.
const TYPES: &[GgmlType] = &[GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0];

/// What is added to one weight, as llama.cpp multiplies it.
struct Product {
    rank: usize,
    /// `[rank, in]`, or `[vocab, rank]` of an embedding, for each matrix.
    a: Vec<f32>,
    /// `[out, rank]` for each matrix, not scaled.
    b: Vec<f32>,
    /// What each column of `b` is multiplied by.
    scales: Vec<f32>,
}

impl Job {
    /// Decides everything about the adapters that `checkpoint` was merged with; `recipe` is one of a single type.
    ///
    /// # Errors
    /// No adapter; weights of an adapter's own, and products that are for no tensor of the GGUF or spread over several: a
    /// GGUF adapter cannot hold these. Another recipe.
    pub fn adapter(checkpoint: Checkpoint, recipe: Recipe) -> Result<Job> {
        let About::HuggingFace { config, .. } = &checkpoint.about else { return Err(Error::NotAFolder) };
        let named = |ty: &&GgmlType| ty.name().eq_ignore_ascii_case(&recipe.name);
        let to = *TYPES.iter().find(named).ok_or_else(|| Error::NotForTowers { recipe: recipe.name.clone() })?;
        let source = &checkpoint.source;
        let refused = |tensor: &str, why: &str| Error::NotInAdapter { tensor: tensor.to_owned(), why: why.to_owned() };
        if let Some(name) = source.replaced().min() {
            return Err(refused(name, "the adapter has another weight in its place, not a product"));
        }
        let mut waiting: BTreeSet<&str> = source.added().collect();
        if waiting.is_empty() {
            return Err(Error::NoAdapter);
        }
        let architecture = model::architecture(config)?;
        let gguf = architecture.gguf.as_ref().map_or("", |gguf| gguf.name);
        let settings = architecture.config(config)?;
        let released = model::release(architecture, &settings, source.infos())?;
        let tied = ties(&model::runnable(architecture, &settings, source.infos())?);
        let mut products = vec![];
        for tensor in &released {
            let names: Vec<&str> = tensor.gather.sources(&tensor.shape).into_iter().map(|(name, _)| name).collect();
            let Some(first) = names.iter().find(|name| waiting.contains(**name)) else { continue };
            if tensor.role == Role::TokenEmbd && tied {
                return Err(refused(first, "llama.cpp would add it to the head too, which is the same tensor"));
            }
            let product = product(tensor, source).map_err(|why| refused(first, why))?;
            products.push((tensor, product));
            waiting.retain(|name| !names.contains(name));
        }
        if let Some(name) = waiting.first() {
            return Err(refused(name, "the GGUF has no tensor of it"));
        }

        let alpha = alpha(products.iter().map(|(_, product)| product));
        let mut tensors = vec![];
        for (tensor, product) in products {
            tensors.extend(planned(tensor, product, alpha.is_some(), to)?);
        }
        let folders: Vec<&Path> = source.adapters().filter_map(Path::parent).collect();
        let folder = folders.first().copied().unwrap_or(Path::new("."));
        let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let weights = tensors.iter().map(Planned::weights).sum();
        let (card, warning) = Card::read(folder);
        let mut kv = Kv::new();
        kv.set("general.architecture", gguf);
        kv.set("general.type", "adapter");
        kv.set("adapter.type", "lora");
        for (key, value) in card.keys(&name.unwrap_or_else(|| checkpoint.name()), weights).iter() {
            if key != "general.size_label" {
                kv.set(key, value.clone());
            }
        }
        kv.set("adapter.lora.alpha", alpha.unwrap_or(0.0));
        kv.set("general.quantization_version", 2u32);
        let warnings = warning.into_iter().collect();
        Ok(Job {
            architecture: gguf.to_owned(),
            recipe,
            kv,
            tensors,
            stop: vec![],
            coverage: None,
            warnings,
            checkpoint,
        })
    }
}

/// Whether the head is the embedding.
fn ties(model: &Model) -> bool {
    let ops = model.stacks.iter().flat_map(|stack| &stack.layers).flat_map(|layer| &layer.ops);
    ops.into_iter().any(|op| matches!(op, Op::Linear { w, .. } if w.role == Role::TokenEmbd))
}

/// What is added to the GGUF's `tensor`, or why that is no product of two matrices.
fn product(tensor: &Tensor, source: &Tensors) -> Result<Product, &'static str> {
    let [.., out, inp] = tensor.shape[..] else { return Err("it is no matrix") };
    let whole = |name: &str| joined(source.deltas(name));
    match &tensor.gather {
        Gather::Whole(name) if tensor.role == Role::TokenEmbd => {
            let Product { rank, a, b, scales } = whole(name);
            Ok(Product { rank, a: b, b: transposed(&a, inp), scales })
        }
        // (B A)^T = A^T B^T
        Gather::Transposed(name) => {
            let Product { rank, a, b, scales } = whole(name);
            Ok(Product { rank, a: transposed(&b, rank), b: transposed(&a, out), scales })
        }
        Gather::Stacked(names) => {
            let parts: Vec<Product> = names.iter().map(|name| whole(name)).collect();
            Ok(stacked(&parts, [out, inp]))
        }
        gather @ (Gather::Whole(name)
        | Gather::Rows(name, ..)
        | Gather::Paired { name, .. }
        | Gather::Unpaired { name, .. }
        | Gather::Picked { name, .. }
        | Gather::Ungrouped { name, .. }
        | Gather::Grouped { name, .. }) => {
            let all = whole(name);
            let rows = (0..out).flat_map(|row| {
                let at = gather.source_row(row, out) * all.rank;
                all.b.get(at..at + all.rank).unwrap_or_default().iter().copied()
            });
            Ok(Product { b: rows.collect(), ..all })
        }
        Gather::Woven(_)
        | Gather::Heads { .. }
        | Gather::OfHeads(_)
        | Gather::Shifted { .. }
        | Gather::Columns { .. }
        | Gather::Zipped { .. }
        | Gather::Every { .. }
        | Gather::Computed(_) => Err("the GGUF has it spread over tensors or mixed with others"),
    }
}

/// The sum of products as one, its rank the sum of theirs.
fn joined(deltas: &[Delta]) -> Product {
    let rank = deltas.iter().map(Delta::rank).sum();
    let rows = deltas.first().map_or(0, |delta| delta.shape()[0]);
    let of = |row: usize| deltas.iter().flat_map(move |d| &d.up()[row * d.rank()..][..d.rank()]);
    Product {
        rank,
        a: deltas.iter().flat_map(Delta::down).copied().collect(),
        b: (0..rows).flat_map(of).copied().collect(),
        scales: deltas.iter().flat_map(|delta| std::iter::repeat_n(delta.scale(), delta.rank())).collect(),
    }
}

/// Products of experts, one after another; what lacks ranks, or all of a product, has zeros.
fn stacked(parts: &[Product], [out, inp]: [usize; 2]) -> Product {
    let rank = parts.iter().map(|part| part.rank).max().unwrap_or(0);
    let mut all = Product { rank, a: vec![], b: vec![], scales: vec![] };
    for part in parts {
        all.a.extend(&part.a);
        all.a.resize(all.a.len() + (rank - part.rank) * inp, 0.0);
        for row in 0..out {
            all.b.extend(part.b.get(row * part.rank..(row + 1) * part.rank).unwrap_or_default());
            all.b.resize(all.b.len() + rank - part.rank, 0.0);
        }
        all.scales.extend(&part.scales);
        // Times zero: the scale of the others will do.
        let usual = part.scales.first().or(parts.iter().find_map(|part| part.scales.first())).copied().unwrap_or(1.0);
        all.scales.resize(all.scales.len() + rank - part.rank, usual);
    }
    all
}

/// The one alpha that gives every product its scale, if there is one.
fn alpha<'a>(products: impl Iterator<Item = &'a Product>) -> Option<f32> {
    let of = |p: &Product| -> Vec<f32> { p.scales.iter().map(|s| (f64::from(*s) * p.rank as f64) as f32).collect() };
    let mut alphas = products.flat_map(of);
    let alpha = alphas.next().filter(|alpha| *alpha > 0.0)?;
    alphas.all(|other| other == alpha).then_some(alpha)
}

/// The two tensors of a product; the scale is in the second unless the file's alpha says it.
fn planned(tensor: &Tensor, product: Product, by_alpha: bool, to: GgmlType) -> Result<[Planned; 2]> {
    let Product { rank, a, mut b, scales } = product;
    let [outer @ .., out, inp] = &tensor.shape[..] else { return Err(Error::NoAdapter) };
    if !by_alpha {
        // Ranks of one matrix after those of another.
        let matrices = (scales.len() / rank.max(1)).max(1);
        let per = (b.len() / matrices).max(1);
        for (rows, scales) in b.chunks_mut(per).zip(scales.chunks(rank.max(1))) {
            for (x, scale) in rows.iter_mut().zip(scales.iter().cycle()) {
                *x *= scale;
            }
        }
    }
    let embedding = tensor.role == Role::TokenEmbd;
    let [a_shape, b_shape] = if embedding { [[*out, rank], [*inp, rank]] } else { [[rank, *inp], [*out, rank]] };
    let one = |part: &str, shape: [usize; 2], values: Vec<f32>| -> Result<Planned> {
        let (name, shape) = (format!("{}.{part}", tensor.name), [outer, &shape].concat());
        let cols = shape.last().copied().unwrap_or(1);
        let choice = match to.storage() {
            Storage::Blocks(_) if to.storage().bytes(&[cols]).is_none() => {
                Choice { ty: GgmlType::F16, wanted: to, why: Why::Fallback { cols, wanted: Box::new(Why::Default) } }
            }
            Storage::Blocks(_) | Storage::Plain(_) => Choice { ty: to, wanted: to, why: Why::Default },
        };
        let bytes = choice.ty.storage().bytes(&shape).ok_or_else(|| Error::DoesNotFit {
            tensor: name.clone(),
            shape: shape.clone(),
            ty: choice.ty.name(),
        })? as u64;
        let (gather, source) = (Gather::Computed(values.into()), Stored::Whole(Storage::Plain(Dtype::F32)));
        Ok(Planned { name, shape, gather, source, choice, bytes, importance: None })
    };
    Ok([one("lora_a", a_shape, a)?, one("lora_b", b_shape, b)?])
}

/// Of a matrix of `cols` columns.
fn transposed(values: &[f32], cols: usize) -> Vec<f32> {
    let rows = values.len() / cols.max(1);
    (0..cols).flat_map(|c| (0..rows).map(move |r| values[r * cols + c])).collect()
}
