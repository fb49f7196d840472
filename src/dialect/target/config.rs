//! The `quantization_config` of a target: the keys that all readers know, and no others, since some refuse what they do not.

use serde_json::{Value, json};

use super::{Form, Target};
use crate::checkpoint::Json;

impl Target {
    /// The object. `left` are the names of linears that stay as they are, `towers` what the names begin with of modules
    /// that stay whole.
    pub fn quantization_config(&self, left: &[String], towers: &[&str]) -> Json {
        // Readers rename modules when they load an older layout: parts of names hold for all of them.
        let parts: Vec<&str> = towers.iter().copied().filter(|tower| !tower.contains('.')).collect();
        let listed = |of: &[&str], pattern: fn(&str) -> String| -> Vec<String> {
            left.iter().cloned().chain(of.iter().map(|tower| pattern(tower))).collect()
        };
        // Compared as parts of names, or with their beginnings.
        let plain = listed(towers, str::to_owned);
        let left = &listed(&parts, |part| format!("re:.*{part}.*"))[..];
        let group = i64::try_from(self.group).ok().filter(|size| *size > 0).unwrap_or(-1);
        let value = match self.form {
            Form::Gptq(bits) => {
                let mut value = json!({
                    "quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": false, "sym": true,
                    "lm_head": false, "checkpoint_format": "gptq", "true_sequential": true, "damp_percent": 0.05,
                });
                // It has no list of what to leave but exceptions to its rule.
                let exceptions: Json = parts.iter().map(|part| (format!("-:.*{part}.*"), json!({}))).collect();
                if !exceptions.is_empty() {
                    value["dynamic"] = Value::Object(exceptions);
                }
                value
            }
            Form::Awq => json!({
                "quant_method": "awq", "version": "gemm", "bits": 4, "group_size": group, "zero_point": true,
                "modules_to_not_convert": plain,
            }),
            Form::Words { bits, asymmetric } => {
                let mut weights = weights(bits, "int", !asymmetric, if group == -1 { "channel" } else { "group" });
                if group > 0 {
                    weights["group_size"] = group.into();
                }
                compressed("pack-quantized", &weights, &Value::Null, left)
            }
            Form::Int8 => {
                let mut tokens = weights(8, "int", true, "token");
                tokens["dynamic"] = true.into();
                compressed("int-quantized", &weights(8, "int", true, "channel"), &tokens, left)
            }
            Form::Fp8 => {
                let mut tokens = weights(8, "float", true, "token");
                tokens["dynamic"] = true.into();
                compressed("float-quantized", &weights(8, "float", true, "channel"), &tokens, left)
            }
            Form::Fp8Block => json!({
                "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
                "modules_to_not_convert": plain,
            }),
            Form::Nvfp4 => {
                let mut weights = weights(4, "float", true, "tensor_group");
                weights["group_size"] = group.into();
                weights["scale_dtype"] = "torch.float8_e4m3fn".into();
                compressed("nvfp4-pack-quantized", &weights, &Value::Null, left)
            }
            Form::Mxfp4 => {
                let mut weights = weights(4, "float", true, "group");
                weights["group_size"] = group.into();
                weights["scale_dtype"] = "torch.uint8".into();
                compressed("mxfp4-pack-quantized", &weights, &Value::Null, left)
            }
        };
        match value {
            Value::Object(object) => object,
            _ => Json::new(),
        }
    }
}

fn weights(bits: u8, kind: &str, symmetric: bool, strategy: &str) -> Value {
    json!({"num_bits": bits, "type": kind, "symmetric": symmetric, "strategy": strategy, "dynamic": false})
}

fn compressed(format: &str, weights: &Value, activations: &Value, ignore: &[String]) -> Value {
    json!({
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "ignore": ignore,
        "config_groups": {"group_0": {
            "targets": ["Linear"], "weights": weights, "input_activations": activations, "output_activations": null,
        }},
    })
}
