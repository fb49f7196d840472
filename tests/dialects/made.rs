//! Small checkpoints in memory, as any target has them.

use std::path::Path;

use planish::checkpoint::Json;
use planish::dialect::{Linear, Result, Target, Tensors};
use planish_formats::{Info, safetensors};
use planish_kernels::Isa;
use planish_kernels::group::{ScaleType, nvfp4_global_scale};
use serde_json::{Value, json};

/// A safetensors file and its config.json, to be damaged.
pub(crate) struct Made {
    pub tensors: Vec<(Info, Vec<u8>)>,
    pub config: Json,
}

/// Numbers like weights, but for a few that are large: the same in every run.
pub(crate) fn weights(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|i| (draw() + draw() + draw()) * if i % 97 == 5 { 0.3 } else { 0.04 }).collect()
}

/// What `values` become as the linear `P` of `target`, and what they decode to.
pub(crate) fn linear(target: &Target, shape: [usize; 2], values: &[f32]) -> (Made, Vec<f32>) {
    let linear = Linear::new(target, ScaleType::Bf16, shape).expect("a linear that fits");
    let global = nvfp4_global_scale(values.iter().fold(0f32, |largest, x| largest.max(x.abs())));
    let codec = linear.codec(global);
    let mut records = vec![0; linear.record_bytes()];
    codec.encode(Isa::Scalar, values, shape[1], None, &mut records);
    let mut decoded = vec![0.0; values.len()];
    codec.decode(Isa::Scalar, &records, &mut decoded);
    let tensors = linear.infos("P").into_iter().zip(linear.pack(global, &records)).collect();
    let config = json!({"quantization_config": target.quantization_config(&["lm_head".to_owned()], &[])});
    let Value::Object(config) = config else { panic!("an object") };
    (Made { tensors, config }, decoded)
}

impl Made {
    /// Writes it to `path` and opens it.
    pub(crate) fn open(&self, path: &Path) -> Result<Tensors> {
        let infos: Vec<Info> = self.tensors.iter().map(|(info, _)| info.clone()).collect();
        let sink = safetensors::create(path, &infos, None).expect("a file");
        for (at, (info, bytes)) in self.tensors.iter().enumerate() {
            assert_eq!(info.bytes(), Some(bytes.len()), "{}", info.name);
            sink.write_at(at, 0, bytes).expect("bytes");
        }
        sink.finish().expect("a file");
        Tensors::open(planish_formats::open(path).expect("safetensors"), &self.config).map_err(|unread| unread.error)
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut (Info, Vec<u8>) {
        self.tensors.iter_mut().find(|(info, _)| info.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) fn quantization(&mut self) -> &mut Json {
        match self.config.get_mut("quantization_config") {
            Some(Value::Object(object)) => object,
            _ => panic!("no quantization_config"),
        }
    }
}
