//! The way back: what a name of llama.cpp does to text, as tokenizer.json writes it.

use serde_json::{Value, json};

use super::known::{ALIASES, DIGIT, DIGITS, GPT2, KNOWN, Known, RESTORED};

/// The splitting that llama.cpp does under `name`; `None` for a name whose splitting no tokenizer.json is known for.
pub(in crate::text) fn splitting(name: &str) -> Option<Splitting> {
    let alias = ALIASES.iter().find(|(_, names)| names.contains(&name)).map_or(name, |(known, _)| *known);
    let known = KNOWN.iter().chain(RESTORED).find(|known| known.name == alias)?;
    Some(Splitting { known, begins: BEGINNERS.contains(&name) })
}

/// Whether two names split text alike; `None` if that is not known of one of them.
pub fn split_alike(a: &str, b: &str) -> Option<bool> {
    if a == b {
        return Some(true);
    }
    let (a, b) = (splitting(a)?.known, splitting(b)?.known);
    Some(a.steps == b.steps && a.ignore_merges == b.ignore_merges)
}

/// Names under which llama.cpp begins every text with a token where the file does not say.
const BEGINNERS: [&str; 10] = [
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "tekken",
];

/// What a name of llama.cpp means beside the tokens themselves.
pub(in crate::text) struct Splitting {
    known: &'static Known,
    /// Whether a token begins every text unless the file says something else.
    pub(in crate::text) begins: bool,
}

impl Splitting {
    /// Whether a word that is a token is taken without merging.
    pub(in crate::text) fn ignore_merges(&self) -> bool {
        self.known.ignore_merges
    }

    /// What has to be said of whether decoded text is tidied, for this name to be found again. Where nothing has to be,
    /// nothing is: tidying byte-level text loses spaces.
    pub(in crate::text) fn clean(&self) -> Option<bool> {
        let Known { steps, clean, .. } = *self.known;
        let first = KNOWN.iter().find(|known| known.steps == steps).is_none_or(|known| known.clean);
        (!clean || !first).then_some(clean)
    }

    /// `pre_tokenizer` of tokenizer.json.
    pub(in crate::text) fn pre_tokenizer(&self) -> Value {
        let mut steps: Vec<Value> = self.known.steps.iter().map(|step| written(step)).collect();
        if !self.known.steps.contains(&GPT2) {
            steps.push(byte_level(false));
        }
        match steps.as_slice() {
            [step] => step.clone(),
            _ => json!({ "type": "Sequence", "pretokenizers": steps }),
        }
    }
}

/// A step of the table as tokenizer.json writes it.
fn written(step: &str) -> Value {
    match step {
        GPT2 => byte_level(true),
        DIGIT => json!({ "type": "Digits", "individual_digits": true }),
        DIGITS => json!({ "type": "Digits", "individual_digits": false }),
        "punctuation contiguous" => json!({ "type": "Punctuation", "behavior": "Contiguous" }),
        _ => {
            let regex = step.strip_prefix("split ").unwrap_or(step);
            json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false })
        }
    }
}

fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}
