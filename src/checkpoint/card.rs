//! The facts of a model card (the front matter of `README.md`) as `general.*` keys.
//!
//! The fields are those of Hugging Face's model card specification; the keys are ggml's (`docs/gguf.md`).

use std::path::Path;

use planish_formats::gguf::Kv;
use serde_json::{Map, Value};

/// The front matter, or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    fields: Map<String, Value>,
}

/// A base model or data set of the card.
struct Parent<'a> {
    organization: Option<&'a str>,
    name: &'a str,
    url: String,
}

/// Where `owner/name` lives.
const HUB: &str = "https://huggingface.co/";

/// A card larger than this is not one.
const CARD_LIMIT: u64 = 4 << 20;

impl Card {
    /// Reads `README.md` in `dir`. A folder without one, or without front matter, has an empty card; a front matter
    /// that is not YAML gives an empty card and a warning, since no weight depends on it.
    pub fn read(dir: &Path) -> (Card, Option<String>) {
        let path = dir.join("README.md");
        if std::fs::metadata(&path).map_or(true, |file| file.len() > CARD_LIMIT) {
            return (Card::default(), None);
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            return (Card::default(), Some(format!("{}: not read, it is not UTF-8 text", path.display())));
        };
        match Card::parse(&text) {
            Ok(card) => (card, None),
            Err(why) => (Card::default(), Some(format!("{}: front matter ignored: {why}", path.display()))),
        }
    }

    fn parse(text: &str) -> Result<Card, String> {
        let Some(front) = front_matter(text) else { return Ok(Card::default()) };
        match serde_saphyr::from_str(front).map_err(|error| error.to_string())? {
            Value::Object(fields) => Ok(Card { fields }),
            Value::Null => Ok(Card::default()),
            _ => Err("not a mapping".to_owned()),
        }
    }

    /// A field that is one string (or number) under any of these names.
    fn one(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| match self.fields.get(*name)? {
            Value::String(s) if !s.trim().is_empty() => Some(s.trim().to_owned()),
            Value::Number(n) => Some(n.to_string()),
            _ => None,
        })
    }

    /// A field that is a string or a list of strings.
    fn many(&self, name: &str) -> Vec<&str> {
        match self.fields.get(name) {
            Some(Value::String(s)) => vec![s],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        }
    }

    /// The `general.*` keys, in the order in which llama.cpp's converter writes them. `name` stands in for a card
    /// that gives none; `parameters` is the number of weights.
    pub fn keys(&self, name: &str, parameters: u64) -> Kv {
        let mut kv = Kv::new();
        kv.set("general.name", self.one(&["name", "model_name"]).unwrap_or_else(|| title(name)));
        let plain: [(&str, &[&str]); 4] = [
            ("general.author", &["author", "model_author", "model_creator"]),
            ("general.version", &["version", "model_version"]),
            ("general.organization", &["organization", "model_organization"]),
            ("general.description", &["description", "model_description"]),
        ];
        for (key, fields) in plain {
            if let Some(value) = self.one(fields) {
                kv.set(key, value);
            }
        }
        kv.set("general.size_label", size_label(parameters));
        let license = self.many("license").join(",");
        if !license.is_empty() {
            kv.set("general.license", license);
        }
        for (key, field) in [("general.license.name", "license_name"), ("general.license.link", "license_link")] {
            if let Some(value) = self.one(&[field]) {
                kv.set(key, value);
            }
        }
        self.parents("general.base_model", "base_model", HUB, &mut kv);
        self.parents("general.dataset", "datasets", "https://huggingface.co/datasets/", &mut kv);
        let mut tags = self.many("tags");
        tags.extend(self.many("pipeline_tag"));
        for (key, list) in [("general.tags", tags), ("general.languages", self.many("language"))] {
            if !list.is_empty() {
                kv.set(key, list.into_iter().map(str::to_owned).collect::<Vec<_>>());
            }
        }
        kv
    }

    fn parents(&self, key: &str, field: &str, hub: &str, kv: &mut Kv) {
        let parents: Vec<Parent> = self.many(field).into_iter().map(|id| Parent::of(id, hub)).collect();
        if parents.is_empty() {
            return;
        }
        kv.set(format!("{key}.count"), u32::try_from(parents.len()).unwrap_or(u32::MAX));
        for (i, parent) in parents.iter().enumerate() {
            kv.set(format!("{key}.{i}.name"), title(parent.name));
            if let Some(organization) = parent.organization {
                kv.set(format!("{key}.{i}.organization"), title(organization));
            }
            kv.set(format!("{key}.{i}.repo_url"), parent.url.clone());
        }
    }
}

impl<'a> Parent<'a> {
    fn of(id: &'a str, hub: &str) -> Parent<'a> {
        let path = id.strip_prefix(hub).unwrap_or(id);
        let url = if id.contains("://") { id.to_owned() } else { format!("{hub}{id}") };
        match path.rsplit_once('/') {
            Some((owner, name)) => Parent { organization: owner.rsplit('/').next(), name, url },
            None => Parent { organization: None, name: path, url },
        }
    }
}

/// What stands between a first line `---` and the next one.
fn front_matter(text: &str) -> Option<&str> {
    let text = text.trim_start_matches('\u{feff}');
    let rest = text.strip_prefix("---")?;
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'))?;
    let end = rest.lines().scan(0, |at, line| {
        let start = *at;
        *at += line.len() + 1;
        Some((start, line))
    });
    let (end, _) = end.into_iter().find(|(_, line)| line.trim_end() == "---")?;
    rest.get(..end)
}

/// `SmolLM2-135M-Instruct` as `SmolLM2 135M Instruct`; words in lower case get a capital.
fn title(id: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if word.chars().all(char::is_lowercase) => first.to_uppercase().chain(letters).collect(),
            _ => word.to_owned(),
        }
    };
    id.split(['-', ' ']).filter(|word| !word.is_empty()).map(capital).collect::<Vec<_>>().join(" ")
}

/// A count of weights for people: `135M`, `1.2B`, two digits or more.
fn size_label(parameters: u64) -> String {
    let scales = [(1e12, "T"), (1e9, "B"), (1e6, "M")];
    let count = parameters as f64;
    let (scale, suffix) = scales.into_iter().find(|(scale, _)| count > *scale).unwrap_or((1e3, "K"));
    let scaled = count / scale;
    let decimals = usize::from(scaled.round() < 10.0);
    format!("{scaled:.decimals$}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "---\nlicense: apache-2.0\nbase_model:\n- HuggingFaceTB/SmolLM2-135M\ntags: [chat, tiny]\n\
                          pipeline_tag: text-generation\nlanguage: en\n---\n# Title\n---\nnot: front matter\n";

    #[test]
    fn the_front_matter_becomes_general_keys() {
        let kv = Card::parse(README).unwrap().keys("SmolLM2-135M-Instruct", 134_515_008);
        let text = |key| kv.str(key).unwrap_or_else(|| panic!("{key}"));
        assert_eq!(text("general.name"), "SmolLM2 135M Instruct");
        assert_eq!(text("general.size_label"), "135M");
        assert_eq!(text("general.license"), "apache-2.0");
        assert_eq!(text("general.base_model.0.name"), "SmolLM2 135M");
        assert_eq!(text("general.base_model.0.organization"), "HuggingFaceTB");
        assert_eq!(text("general.base_model.0.repo_url"), "https://huggingface.co/HuggingFaceTB/SmolLM2-135M");
        assert_eq!(kv.unsigned("general.base_model.count"), Some(1));
        let tags = ["chat", "tiny", "text-generation"].map(str::to_owned).to_vec();
        assert_eq!(kv.get("general.tags"), Some(&tags.into()));
        assert_eq!(kv.get("general.languages"), Some(&vec!["en".to_owned()].into()));
    }

    #[test]
    fn a_folder_without_a_card_has_a_name_and_a_size() {
        let kv = Card::default().keys("my-tiny", 3_671_296);
        assert_eq!(kv.iter().map(|(k, _)| k).collect::<Vec<_>>(), ["general.name", "general.size_label"]);
        assert_eq!(kv.str("general.name"), Some("My Tiny"));
        assert_eq!(kv.str("general.size_label"), Some("3.7M"));
    }

    #[test]
    fn what_is_no_front_matter_is_nothing() {
        for text in ["", "# Title", "---\nnever closed", "--- x\n---\n", "---\n---\n"] {
            assert_eq!(Card::parse(text), Ok(Card::default()), "{text:?}");
        }
        for text in ["---\n- a list\n---\n", "---\n{: :\n---\n"] {
            assert!(Card::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_have_two_digits_or_more() {
        for (count, label) in [(1_235_814_400, "1.2B"), (70_553_706_496, "71B"), (260_000, "260K"), (999, "1.0K")] {
            assert_eq!(size_label(count), label);
        }
    }
}
