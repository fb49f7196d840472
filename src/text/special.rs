//! Which tokens begin, end, separate and pad: from the configs, in the order in which llama.cpp's converter believes them.
//!
//! 1. `tokenizer_config.json` names texts (`bos_token`), which are looked up among the added tokens;
//! 2. `special_tokens_map.json` does the same where it does not;
//! 3. `config.json` and 4. `generation_config.json` name ids;
//! 5. the named texts are looked up in the whole vocabulary; 6. a SentencePiece model names ids itself.

use std::collections::BTreeMap;

use planish_formats::gguf::Kv;

use super::folder::{Document, Node};
use super::sources::Sources;
use super::table::Table;
use super::{Error, added, template_processing};

/// Ids with a meaning, where the checkpoint has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what no token covers.
    pub unk: Option<u32>,
    /// Separates two texts.
    pub sep: Option<u32>,
    /// Fills up a batch.
    pub pad: Option<u32>,
    /// Stands for a hidden token.
    pub mask: Option<u32>,
    /// Ends a turn of a conversation.
    pub eot: Option<u32>,
    /// Ends a message that a tool answers.
    pub eom: Option<u32>,
}

/// What a special token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Bos,
    Eos,
    Unk,
    Sep,
    Pad,
    Cls,
    Mask,
    Eot,
    Eom,
}

impl Role {
    pub(super) const ALL: [Role; 9] =
        [Role::Bos, Role::Eos, Role::Unk, Role::Sep, Role::Pad, Role::Cls, Role::Mask, Role::Eot, Role::Eom];

    /// The configs' name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Bos => "bos",
            Role::Eos => "eos",
            Role::Unk => "unk",
            Role::Sep => "sep",
            Role::Pad => "pad",
            Role::Cls => "cls",
            Role::Mask => "mask",
            Role::Eot => "eot",
            Role::Eom => "eom",
        }
    }

    /// GGUF's key, its spelling included.
    pub(super) fn key(self) -> Option<&'static str> {
        Some(match self {
            Role::Bos => "tokenizer.ggml.bos_token_id",
            Role::Eos => "tokenizer.ggml.eos_token_id",
            Role::Unk => "tokenizer.ggml.unknown_token_id",
            Role::Sep => "tokenizer.ggml.seperator_token_id",
            Role::Pad => "tokenizer.ggml.padding_token_id",
            Role::Cls => return None,
            Role::Mask => "tokenizer.ggml.mask_token_id",
            Role::Eot => "tokenizer.ggml.eot_token_id",
            Role::Eom => "tokenizer.ggml.eom_token_id",
        })
    }

    fn of(self, ids: &SpecialIds) -> Option<u32> {
        match self {
            Role::Bos => ids.bos,
            Role::Eos => ids.eos,
            Role::Unk => ids.unk,
            Role::Sep => ids.sep,
            Role::Pad => ids.pad,
            Role::Cls => None,
            Role::Mask => ids.mask,
            Role::Eot => ids.eot,
            Role::Eom => ids.eom,
        }
    }
}

/// Special ids, and what is put around a text.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) ids: SpecialIds,
    /// Further ids that end a generation.
    pub(super) ends: Vec<u32>,
    /// Whether these are put around a text: begin, end, separator.
    pub(super) adds: BTreeMap<Role, bool>,
    /// Ids of the parts of a fill-in-the-middle prompt, by key.
    middle: Vec<(&'static str, u32)>,
}

impl Marks {
    pub(super) fn into_keys(self) -> Kv {
        let mut keys = Kv::new();
        for role in Role::ALL {
            if let Some((key, id)) = role.key().zip(role.of(&self.ids)) {
                keys.set(key, id);
            }
        }
        for (key, id) in self.middle {
            keys.set(key, id);
        }
        for (role, add) in self.adds {
            keys.set(format!("tokenizer.ggml.add_{}_token", role.name()), add);
        }
        keys
    }
}

/// Code Llama's prompt parts, under the names that its converter gives them.
const CODE_LLAMA: [(&str, &str); 3] = [
    ("\u{2581}<PRE>", "tokenizer.ggml.prefix_token_id"),
    ("\u{2581}<SUF>", "tokenizer.ggml.suffix_token_id"),
    ("\u{2581}<MID>", "tokenizer.ggml.middle_token_id"),
];
const CODE_LLAMA_END: &str = "\u{2581}<EOT>";

/// Classes whose tokenizer follows `add_bos_token` itself; the others only what tokenizer.json says.
const OWN_FLAGS: [&str; 4] = ["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer"];

pub(super) fn read(
    sources: &Sources,
    table: &Table,
    own: &SpecialIds,
    warnings: &mut Vec<String>,
) -> Result<Marks, Error> {
    let mut texts = BTreeMap::new();
    for document in [&sources.config, &sources.map].into_iter().flatten() {
        for role in Role::ALL {
            if let Some(text) = text(document, role)? {
                texts.entry(role).or_insert(text);
            }
        }
    }
    let mut adds = BTreeMap::new();
    if let Some(json) = &sources.json {
        template_processing::read(json, &mut texts, &mut adds, warnings);
    }
    flags(sources, &mut adds, warnings)?;

    let added = sources.json.as_ref().map_or(Ok(Vec::new()), added::listed)?;
    let mut found = BTreeMap::new();
    for role in Role::ALL {
        let named = texts.get(&role).and_then(|text| added.iter().find(|added| added.text == text));
        let mut ids: Vec<u64> = named.map(|added| added.id).into_iter().collect();
        let text_config = sources.model.get("text_config");
        let configs = [Some(sources.model.root()), text_config, sources.generation.as_ref().map(Document::root)];
        for config in configs.into_iter().flatten() {
            ids.extend(config_id(&config, role)?);
        }
        ids.extend(texts.get(&role).and_then(|text| table.find(text)).map(u64::from));
        ids.extend(role.of(own).map(u64::from));
        for id in ids {
            // An id without a token is of no use, nor is one out of range: the next source is asked.
            if table.get(id).is_some() {
                found.entry(role).or_insert(id as u32);
            } else {
                warnings.push(format!("the {} token has id {id}, which no token has", role.name()));
            }
        }
    }
    let ids = |role| found.get(&role).copied();
    let mut marks = Marks {
        ids: SpecialIds {
            bos: ids(Role::Bos),
            eos: ids(Role::Eos),
            unk: ids(Role::Unk),
            sep: ids(Role::Sep),
            pad: ids(Role::Pad),
            mask: ids(Role::Mask),
            eot: ids(Role::Eot),
            eom: ids(Role::Eom),
        },
        ends: ends(sources)?,
        adds,
        middle: Vec::new(),
    };
    code_llama(table, &mut marks);
    Ok(marks)
}

/// Whether a tokenizer of this class does what `add_bos_token` and the like say, whatever its tokenizer.json does.
pub(super) fn obeys_flags(class: &str) -> bool {
    OWN_FLAGS.contains(&class.strip_suffix("Fast").unwrap_or(class))
}

/// The text that a config names for a role: a string, or an object with `content`.
pub(super) fn text(document: &Document, role: Role) -> Result<Option<String>, Error> {
    let Some(node) = document.get(&format!("{}_token", role.name())) else { return Ok(None) };
    let text = match node.get("content") {
        Some(content) => content.string()?,
        None if node.value.is_string() => node.string()?,
        // Some configs have `false` here.
        None if node.value.is_boolean() => return Ok(None),
        None => return Err(node.wrong("a token's text")),
    };
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// The id that a config names for a role. A list (several ends) names none.
fn config_id(config: &Node, role: Role) -> Result<Option<u64>, Error> {
    match config.get(&format!("{}_token_id", role.name())) {
        // -1 means none.
        Some(node) if node.value.is_array() || node.value.as_i64() == Some(-1) => Ok(None),
        Some(node) => node.id().map(Some),
        None => Ok(None),
    }
}

/// Every id that ends a generation, one or a list of them.
fn ends(sources: &Sources) -> Result<Vec<u32>, Error> {
    let mut ends = Vec::new();
    for document in [sources.generation.as_ref(), Some(&sources.model)].into_iter().flatten() {
        let Some(node) = document.get("eos_token_id").filter(|node| node.value.is_array()) else { continue };
        for item in node.items()? {
            ends.push(u32::try_from(item.id()?).map_err(|_| item.wrong("a token id"))?);
        }
    }
    Ok(ends)
}

/// `add_bos_token` and the like of tokenizer_config.json.
fn flags(sources: &Sources, adds: &mut BTreeMap<Role, bool>, warnings: &mut Vec<String>) -> Result<(), Error> {
    let obeyed = sources.class()?.is_some_and(obeys_flags);
    for role in [Role::Bos, Role::Eos, Role::Sep] {
        let Some(flag) = sources.config_flag(&format!("add_{}_token", role.name()))? else { continue };
        match adds.get(&role).copied() {
            Some(there) if there != flag => {
                let name = role.name();
                let (winner, taken) = if obeyed { ("the former", flag) } else { ("the latter", there) };
                warnings.push(format!(
                    "tokenizer_config.json says add_{name}_token {flag}, tokenizer.json's post-processor {there}: {winner} counts",
                ));
                adds.insert(role, taken);
            }
            Some(_) | None => {
                adds.insert(role, flag);
            }
        }
    }
    Ok(())
}

fn code_llama(table: &Table, marks: &mut Marks) {
    let parts: Option<Vec<_>> = CODE_LLAMA.iter().map(|(text, key)| Some((*key, table.find(text)?))).collect();
    if let Some(parts) = parts {
        marks.middle = parts;
        marks.ids.eot = marks.ids.eot.or_else(|| table.find(CODE_LLAMA_END));
    }
}
