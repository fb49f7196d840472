//! How the hidden states of a text become one vector: what sentence-transformers keeps beside a checkpoint, and GGUF as
//! `{architecture}.pooling_type`.

use std::path::{Component, Path, PathBuf};

use planish_formats::gguf::Kv;
use serde_json::{Value, json};

use super::{About, Checkpoint, Error, Result, read_json};

/// The list of a sentence embedding's modules.
const MODULES: &str = "modules.json";
/// What stands beside it and belongs to it.
const BESIDE: [&str; 2] = ["config_sentence_transformers.json", "sentence_bert_config.json"];

/// Which hidden states become the vector of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all.
    Mean,
    /// The first.
    Cls,
    /// The last.
    Last,
}

impl Pooling {
    const ALL: [(Pooling, &str, u32); 3] =
        [(Pooling::Mean, "mean", 1), (Pooling::Cls, "cls", 2), (Pooling::Last, "lasttoken", 3)];

    /// What the checkpoint says, if it says anything.
    ///
    /// # Errors
    /// Files that cannot be read, and ways of pooling that neither llama.cpp nor planish has.
    pub fn of(checkpoint: &Checkpoint) -> Result<Option<Pooling>> {
        match &checkpoint.about {
            About::HuggingFace { .. } => Pooling::folder(checkpoint.dir()),
            About::Gguf(kv) => Pooling::keys(&checkpoint.path, kv),
        }
    }

    /// The same of a folder.
    pub(crate) fn folder(dir: &Path) -> Result<Option<Pooling>> {
        let Some(folder) = module(dir)? else { return Ok(None) };
        let path = dir.join(folder).join("config.json");
        let config = read_json(&path)?;
        let flag = |mode: &str| config.get(&format!("pooling_mode_{mode}")).and_then(Value::as_bool) == Some(true);
        let flags = [("mean_tokens", Pooling::Mean), ("cls_token", Pooling::Cls), ("lasttoken", Pooling::Last)];
        let others =
            ["max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens"].into_iter().filter(|mode| flag(mode));
        let chosen: Vec<Pooling> = flags.into_iter().filter(|(mode, _)| flag(mode)).map(|(_, mode)| mode).collect();
        let named = config.get("pooling_mode").and_then(Value::as_str);
        let found = match (&chosen[..], named, others.clone().next()) {
            ([one], _, None) => Some(*one),
            ([], Some(name), None) => Pooling::ALL.iter().find(|(_, known, _)| *known == name).map(|(mode, ..)| *mode),
            _ => None,
        };
        let told =
            || named.map(str::to_owned).into_iter().chain(others.map(str::to_owned)).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| Error::Pooling { path, found: told() })
    }

    fn keys(path: &Path, kv: &Kv) -> Result<Option<Pooling>> {
        let architecture = kv.str("general.architecture").unwrap_or_default();
        let Some(number) = kv.unsigned(&format!("{architecture}.pooling_type")).filter(|number| *number > 0) else {
            return Ok(None);
        };
        let known = Pooling::ALL.iter().find(|(.., known)| u64::from(*known) == number);
        let unknown = || Error::Pooling { path: path.to_owned(), found: format!("pooling_type {number}") };
        known.map(|(mode, ..)| Some(*mode)).ok_or_else(unknown)
    }

    fn row(self) -> (Pooling, &'static str, u32) {
        Pooling::ALL.into_iter().find(|(mode, ..)| *mode == self).unwrap_or(Pooling::ALL[0])
    }

    /// sentence-transformers' word for it.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// GGUF's number.
    pub fn number(self) -> u32 {
        self.row().2
    }

    /// The vector of a text whose hidden states are rows of `width`.
    pub fn vector(self, states: &[f32], width: usize) -> Vec<f64> {
        let row = |row: Option<&[f32]>| row.unwrap_or_default().iter().map(|x| f64::from(*x)).collect();
        let mut rows = states.chunks_exact(width.max(1));
        match self {
            Pooling::Cls => row(rows.next()),
            Pooling::Last => row(rows.next_back()),
            Pooling::Mean => {
                let count = rows.len().max(1) as f64;
                let mut sum = vec![0.0; width];
                rows.for_each(|row| sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x)));
                sum.into_iter().map(|sum| sum / count).collect()
            }
        }
    }

    /// The files that say so: names, and what is in them.
    pub(crate) fn files(self, width: usize) -> Vec<(String, Value)> {
        let module = |at: usize, path: &str, kind: &str| json!({ "idx": at, "name": at.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}") });
        let modules = json!([module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")]);
        let config = json!({
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": self == Pooling::Cls,
            "pooling_mode_mean_tokens": self == Pooling::Mean,
            "pooling_mode_max_tokens": false,
            "pooling_mode_mean_sqrt_len_tokens": false,
            "pooling_mode_lasttoken": self == Pooling::Last,
        });
        vec![(MODULES.to_owned(), modules), ("1_Pooling/config.json".to_owned(), config)]
    }
}

/// The folder of the module that pools, if the checkpoint is a sentence embedding.
fn module(dir: &Path) -> Result<Option<PathBuf>> {
    let modules = modules(dir)?;
    let pools = modules.iter().find(|(kind, _)| kind.ends_with("Pooling"));
    Ok(pools.map(|(_, path)| path.clone()))
}

/// Types and folders of all modules. Folders are below `dir`.
fn modules(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let path = dir.join(MODULES);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let modules: Value = serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.clone(), source })?;
    let text = |module: &Value, key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = modules.as_array().into_iter().flatten();
    let all = all.map(|module| (text(module, "type"), PathBuf::from(text(module, "path"))));
    Ok(all.filter(|(_, path)| path.components().all(|part| matches!(part, Component::Normal(_)))).collect())
}

/// The types of modules after the pooling that change the vector: a GGUF has none of them.
pub(crate) fn further_modules(dir: &Path) -> Result<Vec<String>> {
    let plain = |kind: &String| ["Transformer", "Pooling", "Normalize"].iter().any(|known| kind.ends_with(known));
    Ok(modules(dir)?.into_iter().map(|(kind, _)| kind).filter(|kind| !plain(kind)).collect())
}

/// The files of a sentence embedding that lie beside the checkpoint's own, from `dir` on.
pub(crate) fn embedding_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(Some(folder)) = module(dir) else { return vec![] };
    let names = BESIDE.into_iter().map(PathBuf::from).chain([PathBuf::from(MODULES), folder.join("config.json")]);
    names.filter(|name| dir.join(name).is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let modules = r#"[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]"#;
        std::fs::write(dir.path().join(MODULES), modules).expect("written");
        std::fs::create_dir(dir.path().join("1_Pooling")).expect("made");
        std::fs::write(dir.path().join("1_Pooling/config.json"), config).expect("written");
        dir
    }

    #[test]
    fn ways_of_pooling_are_told_by_their_flags() {
        let told = |config: &str| Pooling::folder(folder(config).path());
        let of = |config: &str| told(config).expect("a way");
        assert_eq!(of(r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}"#), Some(Pooling::Mean));
        assert_eq!(of(r#"{"pooling_mode_cls_token": true}"#), Some(Pooling::Cls));
        assert_eq!(of(r#"{"pooling_mode": "lasttoken"}"#), Some(Pooling::Last));
        for other in [r#"{"pooling_mode_max_tokens": true}"#, r#"{"pooling_mode": "max"}"#, "{}"] {
            assert!(matches!(told(other), Err(Error::Pooling { .. })), "{other}");
        }
        let both = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}"#;
        assert!(matches!(told(both), Err(Error::Pooling { .. })));
        assert_eq!(Pooling::folder(tempfile::tempdir().expect("a folder").path()).expect("nothing"), None);
    }

    #[test]
    fn files_say_what_they_were_made_of() {
        for (mode, ..) in Pooling::ALL {
            let dir = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(dir.path().join("1_Pooling")).expect("made");
            for (name, content) in mode.files(8) {
                std::fs::write(dir.path().join(name), content.to_string()).expect("written");
            }
            assert_eq!(Pooling::folder(dir.path()).expect("a way"), Some(mode));
            assert_eq!(embedding_files(dir.path()).len(), 2);
        }
    }

    #[test]
    fn vectors_are_means_or_rows() {
        let states = [1.0, 2.0, 3.0, 4.0, 5.0, 9.0];
        assert_eq!(Pooling::Mean.vector(&states, 2), [3.0, 5.0]);
        assert_eq!(Pooling::Cls.vector(&states, 2), [1.0, 2.0]);
        assert_eq!(Pooling::Last.vector(&states, 2), [5.0, 9.0]);
    }
}
