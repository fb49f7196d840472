//! The one [`Source`] behind every container: mapped files, and where in them each tensor lies.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::map::Map;
use crate::{Error, Info, Meta, Result, Source, View};

/// What a reader found in one file. Every range lies inside the file and is as long as its tensor says.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The tensors, in file order.
    pub infos: Vec<Info>,
    /// The bytes of each, from the start of the file.
    pub ranges: Vec<Range<usize>>,
    /// Beside the tensors.
    pub meta: Meta,
}

/// An opened checkpoint of one or many files.
#[derive(Debug)]
pub(crate) struct Mapped {
    maps: Vec<Map>,
    files: Vec<PathBuf>,
    infos: Vec<Info>,
    places: Vec<Place>,
    by_name: HashMap<String, usize>,
    meta: Meta,
}

#[derive(Debug)]
struct Place {
    file: usize,
    range: Range<usize>,
}

impl Mapped {
    /// Maps one file and reads it with `parse`.
    pub(crate) fn open<P>(
        path: &Path,
        parse: fn(&[u8]) -> Result<Contents, P>,
        wrap: fn(PathBuf, P) -> Error,
    ) -> Result<Mapped> {
        let map = Map::open(path)?;
        let contents = parse(&map).map_err(|problem| wrap(path.to_owned(), problem))?;
        let mut opened = Mapped::none(contents.meta);
        opened.add(vec![map], vec![path.to_owned()], contents.infos, contents.ranges.into_iter().map(|r| (0, r)))?;
        Ok(opened)
    }

    /// Makes one of many files. Metadata is the first's; strings that only later files have are added.
    pub(crate) fn join(shards: impl IntoIterator<Item = Result<Mapped>>) -> Result<Mapped> {
        let mut all = Mapped::none(Meta::Strings(BTreeMap::new()));
        for shard in shards {
            let shard = shard?;
            match (&mut all.meta, shard.meta) {
                (Meta::Strings(ours), Meta::Strings(theirs)) => {
                    for (key, value) in theirs {
                        ours.entry(key).or_insert(value);
                    }
                }
                (ours, theirs) if all.files.is_empty() => *ours = theirs,
                _ => {}
            }
            let places = shard.places.into_iter().map(|place| (place.file, place.range));
            all.add(shard.maps, shard.files, shard.infos, places)?;
        }
        Ok(all)
    }

    fn none(meta: Meta) -> Mapped {
        let (maps, files, infos, places) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Mapped { maps, files, infos, places, by_name: HashMap::new(), meta }
    }

    fn add(
        &mut self,
        maps: Vec<Map>,
        files: Vec<PathBuf>,
        infos: Vec<Info>,
        places: impl Iterator<Item = (usize, Range<usize>)>,
    ) -> Result<()> {
        let first = self.files.len();
        self.maps.extend(maps);
        self.files.extend(files);
        for (info, (file, range)) in infos.into_iter().zip(places) {
            let place = Place { file: first + file, range };
            match self.by_name.entry(info.name.clone()) {
                Entry::Vacant(slot) => slot.insert(self.infos.len()),
                Entry::Occupied(slot) => {
                    let other = self.places[*slot.get()].file;
                    let files = [self.files[other].clone(), self.files[place.file].clone()];
                    return Err(Error::DuplicateTensor { files, tensor: info.name });
                }
            };
            self.infos.push(info);
            self.places.push(place);
        }
        Ok(())
    }

    pub(crate) fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }
}

impl Source for Mapped {
    fn infos(&self) -> &[Info] {
        &self.infos
    }

    fn view(&self, name: &str) -> Result<View<'_>> {
        let &at = self
            .by_name
            .get(name)
            .ok_or_else(|| Error::MissingTensor { files: self.files.clone(), tensor: name.to_owned() })?;
        let Place { file, range } = &self.places[at];
        Ok(View { info: &self.infos[at], bytes: &self.maps[*file][range.clone()] })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn info(&self, name: &str) -> Option<&Info> {
        self.by_name.get(name).map(|&at| &self.infos[at])
    }
}
