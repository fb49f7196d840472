//! gguf-rs and candle read the files that we write; candle and we read the same in PyTorch's.

use std::fs::File;
use std::path::Path;

use candle_core::quantized::{GgmlDType, gguf_file};
use candle_core::{DType, Device};
use planish_formats::gguf::{self, Kv};
use planish_formats::{GgmlType, Info, Source, open};

fn infos() -> Vec<Info> {
    let types = [
        (GgmlType::F32, vec![5, 7]),
        (GgmlType::F16, vec![3, 2, 4]),
        (GgmlType::Q8_0, vec![3, 64]),
        (GgmlType::Q4_K, vec![2, 512]),
        (GgmlType::F32, vec![3]),
    ];
    let info = |(i, (ty, shape)): (usize, (GgmlType, Vec<usize>))| Info {
        name: format!("blk.{i}.weight"),
        storage: ty.storage(),
        shape,
    };
    types.into_iter().enumerate().map(info).collect()
}

fn data(info: &Info, tensor: usize) -> Vec<u8> {
    // Small bytes: no scale of a block and no float becomes NaN.
    (0..info.bytes().unwrap()).map(|i| ((i * 5 + tensor * 3) % 60) as u8).collect()
}

fn write(path: &Path) {
    let mut kv = Kv::new();
    kv.set("general.architecture", "llama");
    kv.set("general.file_type", 15u32);
    kv.set("llama.block_count", 2u32);
    kv.set("llama.rope.freq_base", 10000f32);
    kv.set("tokenizer.ggml.tokens", vec!["<s>".to_owned(), "é".to_owned()]);
    let infos = infos();
    let sink = gguf::create(path, &kv, &infos, None).unwrap();
    for (tensor, info) in infos.iter().enumerate() {
        sink.write_at(tensor, 0, &data(info, tensor)).unwrap();
    }
    sink.finish().unwrap();
}

#[test]
fn gguf_rs_reads_our_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    write(&path);
    let mut container = gguf_rs::get_gguf_container(path.to_str().unwrap()).unwrap();
    let model = container.decode().unwrap();
    assert_eq!(model.model_family(), "llama");
    assert_eq!(model.metadata()["llama.block_count"].as_u64(), Some(2));
    assert_eq!(model.metadata()["tokenizer.ggml.tokens"][1].as_str(), Some("é"));
    assert_eq!(model.alignment(), 32);
    let bytes = std::fs::read(&path).unwrap();
    for ((tensor, theirs), ours) in model.tensors().iter().enumerate().zip(infos()) {
        assert_eq!(theirs.name, ours.name);
        assert_eq!(Some(theirs.kind), GgmlType::holding(ours.storage).map(GgmlType::id));
        assert!(theirs.shape.iter().rev().map(|&d| d as usize).eq(ours.shape.iter().copied()));
        let start = (model.data_offset() + theirs.offset) as usize;
        assert_eq!(bytes[start..start + theirs.size as usize], data(&ours, tensor));
    }
    assert_eq!(model.tensors().len(), infos().len());
}

#[test]
fn candle_reads_our_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    write(&path);
    let mut file = File::open(&path).unwrap();
    let content = gguf_file::Content::read(&mut file).unwrap();
    assert_eq!(content.metadata["llama.rope.freq_base"].to_f32().unwrap(), 10000.0);
    assert_eq!(content.tensor_infos.len(), infos().len());
    for (tensor, ours) in infos().iter().enumerate() {
        let theirs = content.tensor(&mut file, &ours.name, &Device::Cpu).unwrap();
        let ty = match GgmlType::holding(ours.storage) {
            Some(GgmlType::F32) => GgmlDType::F32,
            Some(GgmlType::F16) => GgmlDType::F16,
            Some(GgmlType::Q8_0) => GgmlDType::Q8_0,
            Some(GgmlType::Q4_K) => GgmlDType::Q4K,
            other => panic!("{other:?}"),
        };
        assert_eq!(theirs.dtype(), ty);
        assert_eq!(theirs.shape().dims(), ours.shape);
        assert_eq!(theirs.data().unwrap(), data(ours, tensor));
    }
}

#[test]
fn candle_and_we_read_pytorch_alike() {
    for name in ["test.pt", "sound.pt"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/torch").join(name);
        let source = open(&path).unwrap();
        let theirs = candle_core::pickle::PthTensors::new(&path, None).unwrap();
        let mut compared = 0;
        for ours in source.infos() {
            // Candle does not know PyTorch's types without a storage class.
            let Some(tensor) = theirs.get(&ours.name).unwrap() else { continue };
            assert_eq!(tensor.dims(), ours.shape);
            let bytes = source.view(&ours.name).unwrap().bytes;
            let flat = tensor.flatten_all().unwrap();
            match tensor.dtype() {
                DType::I64 => {
                    let values = flat.to_vec1::<i64>().unwrap();
                    assert_eq!(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>(), bytes);
                }
                DType::F32 => {
                    let values = flat.to_vec1::<f32>().unwrap();
                    assert_eq!(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>(), bytes);
                }
                other => panic!("{other:?}"),
            }
            compared += 1;
        }
        assert!(compared > 0, "{name}");
    }
}
