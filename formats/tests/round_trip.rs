//! What is written is what is read: any keys, any tensors, any split, written in any order.

use std::path::Path;

use planish_formats::gguf::{Array, Kv, Value};
use planish_formats::{Dtype, GgmlType, Info, Meta, Sink, Source, Storage, gguf, open, safetensors};
use proptest::prelude::*;

fn many<T: Clone + std::fmt::Debug + 'static>(
    one: impl Strategy<Value = T> + 'static,
    of: fn(Vec<T>) -> Array,
) -> BoxedStrategy<Value> {
    prop::collection::vec(one, 0..5).prop_map(move |v| Value::Array(of(v))).boxed()
}

fn value() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![".{0,12}", Just("\0<\u{10FFFF}>".to_owned())];
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        (-1e30f32..1e30).prop_map(Value::F32),
        (-1e300f64..1e300).prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        text().prop_map(Value::String),
        prop_oneof![
            many(any::<u8>(), Array::U8),
            many(any::<i8>(), Array::I8),
            many(any::<u16>(), Array::U16),
            many(any::<i16>(), Array::I16),
            many(any::<u32>(), Array::U32),
            many(any::<i32>(), Array::I32),
            many(any::<u64>(), Array::U64),
            many(any::<i64>(), Array::I64),
            many(-1e30f32..1e30, Array::F32),
            many(-1e300f64..1e300, Array::F64),
            many(any::<bool>(), Array::Bool),
            many(text(), Array::String),
        ],
    ]
}

fn kv() -> impl Strategy<Value = Kv> {
    prop::collection::vec(("[a-z]{1,6}\\.[a-z.]{1,20}", value()), 0..12).prop_map(|pairs| {
        let mut kv = Kv::new();
        for (key, value) in pairs {
            kv.set(key, value);
        }
        kv
    })
}

fn gguf_infos() -> impl Strategy<Value = Vec<Info>> {
    let one = (0..GgmlType::ALL.len(), prop::collection::vec(0usize..4, 0..4), 0usize..3);
    prop::collection::vec(one, 0..20).prop_map(|tensors| {
        let info = |(i, (ty, mut shape, blocks)): (usize, (usize, Vec<usize>, usize))| {
            let ty = GgmlType::ALL[ty];
            if !shape.is_empty() || ty.block_len() > 1 {
                shape.push(blocks * ty.block_len());
            }
            Info { name: format!("blk.{i}.weight"), storage: ty.storage(), shape }
        };
        tensors.into_iter().enumerate().map(info).collect()
    })
}

fn safetensors_infos() -> impl Strategy<Value = Vec<Info>> {
    let one = (0..Dtype::ALL.len(), prop::collection::vec(0usize..5, 0..5));
    prop::collection::vec(one, 0..20).prop_map(|tensors| {
        let info = |(i, (dtype, mut shape)): (usize, (usize, Vec<usize>))| {
            let dtype = Dtype::ALL[dtype];
            if !dtype.bits().is_multiple_of(8) {
                shape.push(4);
            }
            Info { name: format!("model.\"é\".{i}"), storage: Storage::Plain(dtype), shape }
        };
        tensors.into_iter().enumerate().map(info).collect()
    })
}

/// The bytes of a tensor, different for every tensor.
fn data(infos: &[Info], tensor: usize) -> Vec<u8> {
    (0..infos[tensor].bytes().unwrap()).map(|i| (i * 7 + tensor * 31 + 1) as u8).collect()
}

/// Writes the last tensors first, each in two parts, the second part first.
fn fill(sink: Box<dyn Sink>, infos: &[Info]) {
    for tensor in (0..infos.len()).rev() {
        let bytes = data(infos, tensor);
        let (first, second) = bytes.split_at(bytes.len() / 3);
        sink.write_at(tensor, first.len(), second).unwrap();
        sink.write_at(tensor, 0, first).unwrap();
    }
    sink.finish().unwrap();
}

fn check(source: &dyn Source, infos: &[Info]) {
    assert_eq!(source.infos(), infos);
    for (tensor, info) in infos.iter().enumerate() {
        let view = source.view(&info.name).unwrap();
        assert_eq!(view.info, info);
        assert_eq!(view.bytes, data(infos, tensor), "{info:?}");
    }
    assert!(source.view("no such tensor").is_err());
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gguf_files(kv in kv(), infos in gguf_infos(), split in prop::option::of(1u64..5000)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let layout = gguf::layout(&path, &kv, &infos, split).unwrap();
        let planned: Vec<_> = layout.files().map(|(path, bytes)| (path.to_owned(), bytes)).collect();
        fill(layout.create().unwrap(), &infos);

        prop_assert_eq!(names(folder.path()).len(), planned.len());
        for (path, bytes) in &planned {
            prop_assert_eq!(path.metadata().unwrap().len(), *bytes);
            let source = open(path).unwrap();
            check(&*source, &infos);
            prop_assert_eq!(source.meta(), &Meta::Gguf(kv.clone()));
        }
        check(&*open(folder.path()).unwrap(), &infos);
    }

    #[test]
    fn safetensors_files(infos in safetensors_infos(), shard in prop::option::of(1u64..500)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let layout = safetensors::layout(&path, &infos, shard).unwrap();
        let planned: Vec<_> = layout.files().map(|(path, bytes)| (path.to_owned(), bytes)).collect();
        fill(layout.create().unwrap(), &infos);

        for (path, bytes) in &planned {
            prop_assert_eq!(path.metadata().unwrap().len(), *bytes);
        }
        let source = open(folder.path()).unwrap();
        check(&*source, &infos);
        let Meta::Strings(strings) = source.meta() else { panic!("not safetensors") };
        prop_assert_eq!(&strings["format"], "pt");

        // The reference implementation sees the same in each file.
        for path in source.files() {
            let bytes = std::fs::read(path).unwrap();
            let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
            for (name, view) in theirs.iter() {
                let ours = source.view(name).unwrap();
                prop_assert_eq!(view.data(), ours.bytes);
                prop_assert_eq!(view.shape(), &ours.info.shape[..]);
                prop_assert_eq!(view.dtype().to_string(), ours.info.storage.name());
            }
        }
    }
}
