//! Integers, strings and values as bytes. Little-endian throughout.

use super::kv::{ARRAY, Array, BOOL, STRING, Value, for_each_number};
use super::problem::What;

/// Ollama refuses longer strings, and so does the reader.
const MAX_STRING: u64 = 16 << 20;
/// Ollama refuses longer arrays, and so does the reader.
const MAX_ARRAY: u64 = 64 << 20;

/// What is left of a file's header. Nothing is allocated before the bytes that fill it are known to be there.
pub(super) struct Cursor<'a> {
    left: &'a [u8],
    length: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { left: bytes, length: bytes.len() }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        (self.length - self.left.len()) as u64
    }

    fn bytes(&mut self, n: u64, reading: &'static str) -> Result<&'a [u8], What> {
        let left = self.left.len() as u64;
        let split = usize::try_from(n).ok().and_then(|n| self.left.split_at_checked(n));
        let (taken, rest) = split.ok_or(What::End { reading, needed: n, left })?;
        self.left = rest;
        Ok(taken)
    }

    pub(super) fn fixed<const N: usize>(&mut self, reading: &'static str) -> Result<[u8; N], What> {
        let left = self.left.len() as u64;
        let (&taken, rest) = self.left.split_first_chunk().ok_or(What::End { reading, needed: N as u64, left })?;
        self.left = rest;
        Ok(taken)
    }

    pub(super) fn u32(&mut self, reading: &'static str) -> Result<u32, What> {
        self.fixed(reading).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, reading: &'static str) -> Result<u64, What> {
        self.fixed(reading).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `size` bytes each, refused if they cannot all be there.
    pub(super) fn count(&mut self, what: &'static str, size: u64) -> Result<u64, What> {
        let found = self.u64(what)?;
        let left = self.left.len() as u64;
        if found > left / size { Err(What::Count { what, found, left }) } else { Ok(found) }
    }

    /// A string that may hold anything but is at most `limit` bytes long.
    pub(super) fn string(&mut self, reading: &'static str, limit: u64) -> Result<&'a str, What> {
        let found = self.u64(reading)?;
        if found > limit {
            return Err(What::TooLong { reading, found, limit });
        }
        std::str::from_utf8(self.bytes(found, reading)?).map_err(|_| What::Utf8 { reading })
    }

    /// A string that C readers must see as we do: not empty, no NUL.
    pub(super) fn name(&mut self, reading: &'static str, limit: u64) -> Result<&'a str, What> {
        match self.string(reading, limit)? {
            "" => Err(What::EmptyString { reading }),
            name if name.contains('\0') => Err(What::Nul { reading }),
            name => Ok(name),
        }
    }

    fn bool(&mut self) -> Result<bool, What> {
        match self.fixed("a bool")? {
            [0] => Ok(false),
            [1] => Ok(true),
            [found] => Err(What::Bool { found }),
        }
    }

    /// The elements of an array, each at least `size` bytes in the file.
    fn elements<T>(
        &mut self,
        n: u64,
        size: u64,
        mut read: impl FnMut(&mut Self) -> Result<T, What>,
    ) -> Result<Vec<T>, What> {
        let left = self.left.len() as u64;
        if n > left / size {
            return Err(What::Count { what: "array elements", found: n, left });
        }
        (0..n).map(|_| read(self)).collect()
    }
}

macro_rules! codec {
    ($($variant:ident $rust:ident $id:literal,)*) => {
        impl Cursor<'_> {
            /// A value with its type.
            pub(super) fn value(&mut self) -> Result<Value, What> {
                Ok(match self.u32("a value's type")? {
                    $($id => Value::$variant($rust::from_le_bytes(self.fixed("a value")?)),)*
                    BOOL => Value::Bool(self.bool()?),
                    STRING => Value::String(self.string("a string value", MAX_STRING)?.to_owned()),
                    ARRAY => Value::Array(self.array()?),
                    found => return Err(What::ValueType { found }),
                })
            }

            fn array(&mut self) -> Result<Array, What> {
                let ty = self.u32("an array's type")?;
                let n = self.u64("an array's length")?;
                if n > MAX_ARRAY {
                    return Err(What::ArrayLength { found: n, limit: MAX_ARRAY });
                }
                Ok(match ty {
                    $($id => Array::$variant(
                        self.elements(n, size_of::<$rust>() as u64, |c| c.fixed("an array").map($rust::from_le_bytes))?
                    ),)*
                    BOOL => Array::Bool(self.elements(n, 1, Cursor::bool)?),
                    STRING => Array::String(
                        self.elements(n, 8, |c| c.string("a string in an array", MAX_STRING).map(str::to_owned))?
                    ),
                    ARRAY => return Err(What::NestedArray),
                    found => return Err(What::ValueType { found }),
                })
            }
        }

        /// Writes a value with its type.
        pub(super) fn put_value(out: &mut Vec<u8>, value: &Value) {
            put_u32(out, value.type_id());
            match value {
                $(Value::$variant(v) => out.extend_from_slice(&v.to_le_bytes()),)*
                Value::Bool(v) => out.push(u8::from(*v)),
                Value::String(v) => put_string(out, v),
                Value::Array(array) => {
                    put_u32(out, array.type_id());
                    put_u64(out, array.len() as u64);
                    match array {
                        $(Array::$variant(v) => v.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes())),)*
                        Array::Bool(v) => v.iter().for_each(|v| out.push(u8::from(*v))),
                        Array::String(v) => v.iter().for_each(|v| put_string(out, v)),
                    }
                }
            }
        }
    };
}
for_each_number!(codec);

pub(super) fn put_u32(out: &mut Vec<u8>, v: u32) {
    out.extend_from_slice(&v.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, v: u64) {
    out.extend_from_slice(&v.to_le_bytes());
}

pub(super) fn put_string(out: &mut Vec<u8>, v: &str) {
    put_u64(out, v.len() as u64);
    out.extend_from_slice(v.as_bytes());
}
