//! The key-value section: typed values under unique keys, in the order they were written.

/// Calls a macro with every number type of GGUF: variant, Rust type, type id.
macro_rules! for_each_number {
    ($macro:ident) => {
        $macro! { U8 u8 0, I8 i8 1, U16 u16 2, I16 i16 3, U32 u32 4, I32 i32 5, F32 f32 6, U64 u64 10, I64 i64 11, F64 f64 12, }
    };
}
pub(super) use for_each_number;

/// Type id of a bool.
pub(super) const BOOL: u32 = 7;
/// Type id of a string.
pub(super) const STRING: u32 = 8;
/// Type id of an array.
pub(super) const ARRAY: u32 = 9;

macro_rules! ids {
    ($($variant:ident $rust:ident $id:literal,)*) => {
        /// The name of a value type by its id.
        pub(super) fn type_name(id: u32) -> &'static str {
            match id {
                $($id => stringify!($rust),)*
                BOOL => "bool",
                STRING => "string",
                ARRAY => "array",
                _ => "unknown",
            }
        }

        impl Value {
            /// The number of this type in the file.
            pub(super) fn type_id(&self) -> u32 {
                match self {
                    $(Value::$variant(_) => $id,)*
                    Value::Bool(_) => BOOL,
                    Value::String(_) => STRING,
                    Value::Array(_) => ARRAY,
                }
            }
        }

        impl Array {
            /// The number of the elements' type in the file.
            pub(super) fn type_id(&self) -> u32 {
                match self {
                    $(Array::$variant(_) => $id,)*
                    Array::Bool(_) => BOOL,
                    Array::String(_) => STRING,
                }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Array::$variant(v) => v.len(),)*
                    Array::Bool(v) => v.len(),
                    Array::String(v) => v.len(),
                }
            }
        }
    };
}
for_each_number!(ids);

impl Value {
    /// The name of the type: `u32`, `string`, `array`.
    pub fn type_name(&self) -> &'static str {
        type_name(self.type_id())
    }
}

impl Array {
    /// The name of the elements' type: `i32`, `string`.
    pub fn type_name(&self) -> &'static str {
        type_name(self.type_id())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the GGUF type of its name")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A homogeneous array. Arrays of arrays are not in use anywhere and are refused by the reader.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the GGUF type of its name")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Metadata: unique keys, insertion order kept (the order of the file).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kv {
    entries: Vec<(String, Value)>,
}

impl Kv {
    /// No keys.
    pub const fn new() -> Kv {
        Kv { entries: Vec::new() }
    }

    /// Sets `key`, in place if it is there already, else at the end.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.entries.iter_mut().find(|(k, _)| *k == key) {
            Some((_, v)) => *v = value,
            None => self.entries.push((key, value)),
        }
    }

    /// Appends a key that the caller knows to be new.
    pub(super) fn push(&mut self, key: String, value: Value) {
        self.entries.push((key, value));
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Removes `key` and gives back its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.entries.iter().position(|(k, _)| k == key)?;
        Some(self.entries.remove(at).1)
    }

    /// Sets every entry of `other`.
    pub fn extend(&mut self, other: Kv) {
        for (key, value) in other.entries {
            self.set(key, value);
        }
    }

    /// All entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// The string under `key`, if it is one.
    pub fn str(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// The truth value under `key`, if it is one.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match *self.get(key)? {
            Value::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// The floating-point number under `key`, of either width, if it is one.
    pub fn float(&self, key: &str) -> Option<f64> {
        match *self.get(key)? {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The array under `key`, if it is one.
    pub fn array(&self, key: &str) -> Option<&Array> {
        match self.get(key)? {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The strings under `key`, if it is an array of them.
    pub fn strings(&self, key: &str) -> Option<&[String]> {
        match self.array(key)? {
            Array::String(v) => Some(v),
            _ => None,
        }
    }

    /// The `i32` array under `key`, if it is one.
    pub fn i32s(&self, key: &str) -> Option<&[i32]> {
        match self.array(key)? {
            Array::I32(v) => Some(v),
            _ => None,
        }
    }

    /// The `f32` array under `key`, if it is one.
    pub fn f32s(&self, key: &str) -> Option<&[f32]> {
        match self.array(key)? {
            Array::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The integer under `key`, whatever its width, if it is one and not negative.
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        match *self.get(key)? {
            Value::U8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::U64(v) => Some(v),
            Value::I8(v) => v.try_into().ok(),
            Value::I16(v) => v.try_into().ok(),
            Value::I32(v) => v.try_into().ok(),
            Value::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($rust:ty => $variant:ident),* $(,)?) => { $(
        impl From<$rust> for Value {
            fn from(v: $rust) -> Value { Value::$variant(v) }
        }
        impl From<Vec<$rust>> for Value {
            fn from(v: Vec<$rust>) -> Value { Value::Array(Array::$variant(v)) }
        }
    )* };
}
from!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool, String => String,
      u64 => U64, i64 => I64, f64 => F64);

impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::String(v.to_owned())
    }
}
