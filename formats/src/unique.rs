//! JSON objects in the order of the file, with duplicate keys refused: serde's maps would let the last one win.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// A value whose type may depend on its key.
pub(crate) trait Keyed<'de>: Sized {
    /// Reads the value under `key`, whose turn it is in `map`.
    fn read<A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Self, A::Error>;
}

impl<'de> Keyed<'de> for String {
    fn read<A: MapAccess<'de>>(_: &str, map: &mut A) -> Result<String, A::Error> {
        map.next_value()
    }
}

/// An object's entries.
#[derive(Debug)]
pub(crate) struct Unique<V>(pub(crate) Vec<(String, V)>);

impl<'de, V: Keyed<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique<V>, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: Keyed<'de>> Visitor<'de> for Entries<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut entries: Vec<(String, V)> = Vec::new();
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("key {name:?} occurs twice")));
                    }
                    let value = V::read(&name, &mut map)
                        .map_err(|e| A::Error::custom(format_args!("under key {name:?}: {e}")))?;
                    entries.push((name, value));
                }
                Ok(Unique(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}
