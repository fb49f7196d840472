//! What a pickle may name and build.

use crate::Dtype;

/// More dimensions than any tensor of a checkpoint has. A pickle can name one shape many times in few bytes, so this also
/// bounds how much larger the tensors' records are than the file.
pub(super) const MAX_DIMS: usize = 16;

/// A value's place in the machine's memory.
pub(super) type Id = usize;

/// What a pickle can build.
#[derive(Clone, Debug)]
pub(super) enum Node<'a> {
    /// `None`, truth values and floats: nothing that a tensor depends on.
    Other,
    Int(i64),
    Str(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage<'a>),
    Tensor(Tensor<'a>),
}

impl Node<'_> {
    /// For messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Node::Other => "a plain value",
            Node::Int(_) => "a number",
            Node::Str(_) => "a string",
            Node::Tuple(_) => "a tuple",
            Node::List(_) => "a list",
            Node::Dict(_) => "a dict",
            Node::Global(_) => "a class",
            Node::Storage(_) => "a storage",
            Node::Tensor(_) => "a tensor",
        }
    }
}

/// The names that a pickle may use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    /// For the types that have no storage class: the type is an argument.
    RebuildTensorTyped,
    RebuildParameter,
    Storage(Dtype),
    UntypedStorage,
    Type(Dtype),
}

/// An entry of the zip that holds elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    /// `None` if the tensors say it.
    pub(super) dtype: Option<Dtype>,
    pub(super) key: &'a str,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub(super) struct Tensor<'a> {
    pub(super) key: &'a str,
    pub(super) dtype: Dtype,
    /// Elements from the storage's start.
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<i64>,
}

/// The allow-list.
pub(super) fn global(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorTyped,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch.storage", "UntypedStorage") => Global::UntypedStorage,
        ("torch", name) => match TYPES.iter().find(|(storage, ty, _)| *storage == name || *ty == name)? {
            (storage, _, dtype) if *storage == name => Global::Storage(*dtype),
            (_, _, dtype) => Global::Type(*dtype),
        },
        _ => return None,
    })
}

/// PyTorch's storage classes and types. Types without a class of their own have an empty name there.
const TYPES: [(&str, &str, Dtype); 19] = [
    ("FloatStorage", "float32", Dtype::F32),
    ("HalfStorage", "float16", Dtype::F16),
    ("BFloat16Storage", "bfloat16", Dtype::BF16),
    ("DoubleStorage", "float64", Dtype::F64),
    ("LongStorage", "int64", Dtype::I64),
    ("IntStorage", "int32", Dtype::I32),
    ("ShortStorage", "int16", Dtype::I16),
    ("CharStorage", "int8", Dtype::I8),
    ("ByteStorage", "uint8", Dtype::U8),
    ("BoolStorage", "bool", Dtype::BOOL),
    ("ComplexFloatStorage", "complex64", Dtype::C64),
    ("", "uint16", Dtype::U16),
    ("", "uint32", Dtype::U32),
    ("", "uint64", Dtype::U64),
    ("", "float8_e4m3fn", Dtype::F8_E4M3),
    ("", "float8_e5m2", Dtype::F8_E5M2),
    ("", "float8_e4m3fnuz", Dtype::F8_E4M3FNUZ),
    ("", "float8_e5m2fnuz", Dtype::F8_E5M2FNUZ),
    ("", "float8_e8m0fnu", Dtype::F8_E8M0),
];
