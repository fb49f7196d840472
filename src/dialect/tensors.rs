//! A checkpoint's tensors as a model's program names them, however the files have them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use planish_formats::{Info, Meta, Source, Storage};

use super::packed::Packed;
use super::unpack::Unpacker;
use super::{Delta, Dialect, Error, Reading, Result, Stored, Whole, named, plain};
use crate::checkpoint::Json;
use crate::lora::{self, Adapter};
use crate::model::ConfigReader;

/// An opened checkpoint as a list of logical tensors.
pub struct Tensors {
    source: Box<dyn Source>,
    dialect: &'static dyn Dialect,
    infos: Vec<Info<Stored>>,
    /// How each is packed, in the order of `infos`; `None` of those that are a tensor of the source.
    packed: Vec<Option<Packed>>,
    by_name: HashMap<String, usize>,
    notes: Vec<String>,
    /// What is added to tensors, by name.
    deltas: HashMap<String, Vec<Delta>>,
    /// Tensors of adapters in the place of the source's, by name.
    instead: HashMap<String, (usize, String)>,
    adapters: Vec<Box<dyn Source>>,
}

/// A source that could not be read as its configuration says.
pub struct Unread {
    /// The source.
    pub source: Box<dyn Source>,
    /// Why not.
    pub error: Error,
}

/// One logical tensor, ready to be read.
#[derive(Clone, Debug)]
pub enum Tensor<'a> {
    /// As the source has it.
    Whole(Whole<'a>),
    /// Made of several.
    Packed(Packing<'a>),
}

/// A packed tensor: its description, and what takes it apart.
#[derive(Clone, Debug)]
pub struct Packing<'a> {
    pub(crate) info: &'a Info<Stored>,
    pub(crate) unpacker: Unpacker<'a>,
}

impl Tensors {
    /// The tensors of `source` as they are.
    pub fn plain(source: Box<dyn Source>) -> Tensors {
        let infos: Vec<Info<Stored>> = source.infos().iter().map(whole).collect();
        let packed = infos.iter().map(|_| None).collect();
        let by_name = index(&infos);
        let (deltas, instead, adapters) = (HashMap::new(), HashMap::new(), vec![]);
        Tensors { source, dialect: &plain::Plain, infos, packed, by_name, notes: vec![], deltas, instead, adapters }
    }

    /// The tensors of `source` as the `quantization_config` in `config`, a config.json, says that they are stored.
    ///
    /// # Errors
    /// A method or a key that is not understood; tensors that are missing or do not fit each other. The source comes back
    /// with the error. Reads no weight.
    pub fn open(source: Box<dyn Source>, config: &Json) -> Result<Tensors, Box<Unread>> {
        match read(source.as_ref(), config) {
            Ok((dialect, reading)) => {
                let mut tensors = Tensors { dialect, ..Tensors::plain(source) };
                match tensors.apply(reading) {
                    Ok(()) => Ok(tensors),
                    Err(error) => Err(Box::new(Unread { source: tensors.source, error })),
                }
            }
            Err(error) => Err(Box::new(Unread { source, error })),
        }
    }

    /// Puts packed tensors in the place of those that they are made of.
    fn apply(&mut self, reading: Reading) -> Result<()> {
        let mut places: BTreeMap<String, (String, Packed)> = BTreeMap::new();
        let mut used: BTreeSet<String> = reading.beside.into_iter().collect();
        for (name, packed) in reading.packed {
            packed.check(self.source.as_ref())?;
            used.extend(packed.tensors().cloned());
            if name != packed.codes && self.by_name.contains_key(&name) {
                let what = format!("is in the file beside {}", packed.codes);
                return Err(Error::AtOdds { tensor: name, what });
            }
            places.insert(packed.codes.clone(), (name, packed));
        }
        let (mut infos, mut all) = (vec![], vec![]);
        for info in self.source.infos() {
            if let Some((name, packed)) = places.remove(&info.name) {
                let scheme = packed.scheme(self.source.as_ref())?;
                infos.push(Info { name, storage: Stored::Packed(scheme), shape: packed.shape() });
                all.push(Some(packed));
            } else if !used.contains(&info.name) {
                infos.push(whole(info));
                all.push(None);
            }
        }
        self.by_name = index(&infos);
        (self.infos, self.packed, self.notes) = (infos, all, reading.notes);
        Ok(())
    }

    /// Adds what `adapter` adds to each weight and takes the weights that it has instead.
    ///
    /// # Errors
    /// A tensor of the adapter that is for no weight, or does not fit it; a weight that is quantized.
    pub fn merge(&mut self, adapter: Adapter) -> Result<(), lora::Error> {
        let Adapter { source, deltas, instead } = adapter;
        let place = self.adapters.len();
        for (weight, tensor) in instead {
            let (at, name) = self.adapted(&weight, &tensor)?;
            let found = source.view(&tensor)?.info;
            let info = &mut self.infos[at];
            if info.shape != found.shape {
                let (found, expected) = (found.shape.clone(), info.shape.clone());
                return Err(lora::Error::Shape { tensor, found, weight: name, expected });
            }
            if info.storage.whole().is_none() {
                return Err(lora::Error::Quantized { weight: name, found: info.storage.name().into_owned() });
            }
            info.storage = found.storage.into();
            self.instead.insert(name, (place, tensor));
        }
        for (weight, delta) in deltas {
            let (at, name) = self.adapted(&weight, &weight)?;
            let info = &mut self.infos[at];
            if info.shape != delta.shape() {
                let (found, expected) = (delta.shape().to_vec(), info.shape.clone());
                return Err(lora::Error::Shape { tensor: weight, found, weight: name, expected });
            }
            let Some(storage @ Storage::Plain(_)) = info.storage.of_one() else {
                return Err(lora::Error::Quantized { weight: name, found: info.storage.name().into_owned() });
            };
            info.storage = Stored::Merged(storage);
            self.deltas.entry(name).or_default().push(delta);
        }
        self.adapters.push(source);
        Ok(())
    }

    /// The weight that an adapter calls `weight`: a class without a head saves without what stands before its layers.
    fn adapted(&self, weight: &str, tensor: &str) -> Result<(usize, String), lora::Error> {
        let bare = weight.split_once('.').map_or(weight, |(_, rest)| rest);
        let names = [weight.to_owned(), format!("model.{weight}"), bare.to_owned()];
        let found = names.into_iter().find_map(|name| Some((*self.by_name.get(&name)?, name)));
        let missing = || lora::Error::NoWeight { tensor: tensor.to_owned(), weight: weight.to_owned() };
        found.ok_or_else(missing)
    }

    /// How many tensors adapters add to, and how many they have instead.
    pub fn merged(&self) -> (usize, usize) {
        (self.deltas.len(), self.instead.len())
    }

    /// The tensors that adapters add to.
    pub(crate) fn added(&self) -> impl Iterator<Item = &str> {
        self.deltas.keys().map(String::as_str)
    }

    /// The tensors that adapters have others for. An adapted embedding is saved with the adapter as it was.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = &str> {
        let another = |name: &str, (adapter, tensor): &(usize, String)| {
            let (own, given) = (self.source.view(name).ok(), self.adapters[*adapter].view(tensor).ok());
            !own.zip(given).is_some_and(|(own, given)| lora::same_numbers(&own, &given))
        };
        self.instead.iter().filter(move |(name, place)| another(name, place)).map(|(name, _)| name.as_str())
    }

    /// What adapters add to a tensor, in their order.
    pub(crate) fn deltas(&self, name: &str) -> &[Delta] {
        self.deltas.get(name).map_or(&[], Vec::as_slice)
    }

    /// The files of adapters, in their order.
    pub(crate) fn adapters(&self) -> impl Iterator<Item = &Path> {
        self.adapters.iter().flat_map(|adapter| adapter.files()).map(PathBuf::as_path)
    }

    /// All logical tensors, in file order.
    pub fn infos(&self) -> &[Info<Stored>] {
        &self.infos
    }

    /// The record of one of them.
    pub fn info(&self, name: &str) -> Option<&Info<Stored>> {
        self.by_name.get(name).map(|&at| &self.infos[at])
    }

    /// One of them, ready to be read.
    ///
    /// # Errors
    /// A name that is not in [`Tensors::infos`]; groups or divisors that are none.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>> {
        match self.by_name.get(name).map(|&at| (&self.infos[at], &self.packed[at])) {
            Some((info, Some(packed))) => {
                Ok(Tensor::Packed(Packing { info, unpacker: Unpacker::new(packed, self.source.as_ref())? }))
            }
            Some((_, None)) => {
                let deltas = self.deltas(name);
                let view = match self.instead.get(name) {
                    Some((adapter, tensor)) => self.adapters[*adapter].view(tensor)?,
                    None => self.source.view(name)?,
                };
                Ok(Tensor::Whole(Whole { view, deltas }))
            }
            None => Err(planish_formats::Error::MissingTensor {
                files: self.source.files().to_vec(),
                tensor: name.to_owned(),
            }
            .into()),
        }
    }

    /// What the files say beside their tensors.
    pub fn meta(&self) -> &Meta {
        self.source.meta()
    }

    /// The files that hold the data, in shard order; adapters' last.
    pub fn files(&self) -> Vec<PathBuf> {
        let adapters = self.adapters.iter().flat_map(|adapter| adapter.files());
        self.source.files().iter().chain(adapters).cloned().collect()
    }

    /// Bytes of all stored tensors.
    pub fn bytes(&self) -> u64 {
        self.source.infos().iter().filter_map(Info::bytes).map(|bytes| bytes as u64).sum()
    }

    /// The name of the dialect that the files are in.
    pub fn dialect(&self) -> &'static str {
        self.dialect.name()
    }

    /// How many tensors are quantized.
    pub fn quantized(&self) -> usize {
        self.infos.iter().filter(|info| info.storage.quantized()).count()
    }

    /// What of the quantization is not seen here.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Tensor<'_> {
    /// How it is stored.
    pub fn storage(&self) -> Stored {
        match self {
            Tensor::Whole(whole) if !whole.deltas.is_empty() => Stored::Merged(whole.info.storage),
            Tensor::Whole(whole) => whole.info.storage.into(),
            Tensor::Packed(packing) => packing.info.storage,
        }
    }
}

/// What the dialect that `config` names finds in `source`.
fn read(source: &dyn Source, config: &Json) -> Result<(&'static dyn Dialect, Reading)> {
    let mut reader = ConfigReader::new(config);
    let Some(mut quantization) = reader.object("quantization_config")? else {
        let dialect: &dyn Dialect = &plain::Plain;
        return Ok((dialect, dialect.read(&mut reader, source)?));
    };
    let method = quantization.text("quant_method")?;
    let dialect = named(method.ok_or_else(|| quantization.bad("quant_method", "the name of a method"))?)?;
    let reading = dialect.read(&mut quantization, source)?;
    quantization.finish(dialect.name())?;
    Ok((dialect, reading))
}

fn whole(info: &Info) -> Info<Stored> {
    Info { name: info.name.clone(), storage: info.storage.into(), shape: info.shape.clone() }
}

fn index(infos: &[Info<Stored>]) -> HashMap<String, usize> {
    infos.iter().enumerate().map(|(at, info)| (info.name.clone(), at)).collect()
}
