//! The author's sampling settings (`generation_config.json`): as GGUF keys and as Ollama parameters.

use planish_formats::gguf::{Kv, Value};

use super::Json;

/// One setting: its name in `generation_config.json`, in GGUF and in a Modelfile.
struct Setting {
    json: &'static str,
    gguf: &'static str,
    ollama: &'static str,
    whole: bool,
}

const SETTINGS: [Setting; 5] = [
    Setting { json: "top_k", gguf: "general.sampling.top_k", ollama: "top_k", whole: true },
    Setting { json: "top_p", gguf: "general.sampling.top_p", ollama: "top_p", whole: false },
    Setting { json: "min_p", gguf: "general.sampling.min_p", ollama: "min_p", whole: false },
    Setting { json: "temperature", gguf: "general.sampling.temp", ollama: "temperature", whole: false },
    Setting {
        json: "repetition_penalty",
        gguf: "general.sampling.penalty_repeat",
        ollama: "repeat_penalty",
        whole: false,
    },
];

/// The settings as `general.sampling.*` keys.
pub fn sampling_keys(generation: &Json) -> Kv {
    let mut kv = Kv::new();
    for (setting, value) in present(generation) {
        if setting.whole {
            kv.set(setting.gguf, value as i32);
        } else {
            kv.set(setting.gguf, value as f32);
        }
    }
    kv
}

/// The settings as `generation_config.json` has them: the inverse of [`sampling_keys`].
pub fn sampling_settings(kv: &Kv) -> Json {
    let mut settings = Json::new();
    for setting in &SETTINGS {
        let value = match kv.get(setting.gguf) {
            Some(Value::I32(value)) => (*value).into(),
            // The decimal that it was most likely written from: 0.6, not 0.6000000238.
            Some(Value::F32(value)) => value.to_string().parse::<f64>().ok().into(),
            _ => continue,
        };
        settings.insert(setting.json.to_owned(), value);
    }
    if !settings.is_empty() {
        settings.insert("do_sample".to_owned(), true.into());
    }
    settings
}

/// The settings as `PARAMETER` lines of a Modelfile.
pub fn sampling_parameters(generation: &Json) -> Vec<(&'static str, String)> {
    present(generation).map(|(setting, value)| (setting.ollama, value.to_string())).collect()
}

fn present(generation: &Json) -> impl Iterator<Item = (&'static Setting, f64)> {
    SETTINGS.iter().filter_map(|setting| {
        let value = generation.get(setting.json)?.as_f64()?;
        (value.is_finite() && value.abs() < 1e6).then_some((setting, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_carried_in_both_forms() {
        let generation = serde_json::from_str(r#"{"temperature": 0.6, "top_k": 20, "top_p": null, "eos_token_id": 2}"#);
        let generation: Json = generation.unwrap();
        let kv = sampling_keys(&generation);
        assert_eq!(kv.get("general.sampling.top_k"), Some(&20i32.into()));
        assert_eq!(kv.get("general.sampling.temp"), Some(&0.6f32.into()));
        assert_eq!(kv.iter().len(), 2);
        let back = sampling_settings(&kv);
        assert_eq!(serde_json::Value::from(back).to_string(), r#"{"top_k":20,"temperature":0.6,"do_sample":true}"#);
        assert_eq!(sampling_settings(&Kv::new()), Json::new());
        let lines = sampling_parameters(&generation);
        assert_eq!(lines, [("top_k", "20".to_owned()), ("temperature", "0.6".to_owned())]);
    }
}
