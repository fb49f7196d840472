//! Chat templates: carried over as they are.

use std::path::Path;

use planish_formats::gguf::Kv;
use serde_json::Value;

use super::Error;
use super::folder::{self, Document, Node};
use super::sources::Sources;

const KEY: &str = "tokenizer.chat_template";
/// Folders of named templates beside `chat_template.jinja`.
const FOLDERS: [&str; 2] = ["additional_chat_templates", "chat_templates"];
/// The name of the template that is used when none is named.
const DEFAULT: &str = "default";

/// Templates by name.
type Named = Vec<(String, String)>;

/// `tokenizer.chat_template` and, for named templates, `tokenizer.chat_template.NAME` and `tokenizer.chat_templates`.
///
/// tokenizer_config.json comes first, then chat_template.jinja, then chat_template.json.
pub(super) fn keys(sources: &Sources, warnings: &mut Vec<String>) -> Result<Kv, Error> {
    let configured = sources.config.as_ref().and_then(|config| config.get("chat_template"));
    let configured = configured.map(|node| named(&node)).transpose()?;
    let beside = match jinja(sources.dir)? {
        Some(named) => Some(named),
        None => match Document::read(sources.dir, "chat_template.json")? {
            Some(json) => json.get("chat_template").map(|node| named(&node)).transpose()?,
            None => None,
        },
    };
    if let (Some(configured), Some(beside)) = (&configured, &beside)
        && configured != beside
    {
        warnings.push("tokenizer_config.json and chat_template.jinja differ: the former counts".to_owned());
    }

    let mut kv = Kv::new();
    let mut names = Vec::new();
    for (name, template) in configured.or(beside).unwrap_or_default() {
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if name == DEFAULT {
            kv.set(KEY, template);
        } else if !name.is_empty() && !names.contains(&name) {
            kv.set(format!("{KEY}.{name}"), template);
            names.push(name);
        }
    }
    if !names.is_empty() {
        kv.set("tokenizer.chat_templates", names);
    }
    Ok(kv)
}

/// A template, or a list of `{"name": .., "template": ..}`.
fn named(node: &Node) -> Result<Named, Error> {
    match node.value {
        Value::String(template) => Ok(vec![(DEFAULT.to_owned(), template.clone())]),
        Value::Array(_) => node
            .items()?
            .map(|item| {
                let text = |key| item.need(key, "a string")?.string().map(str::to_owned);
                Ok((text("name")?, text("template")?))
            })
            .collect(),
        _ => Err(node.wrong("a template or a list of named templates")),
    }
}

/// chat_template.jinja and the named templates in the folders beside it.
fn jinja(dir: &Path) -> Result<Option<Named>, Error> {
    let mut all: Named = Vec::new();
    if let Some(template) = folder::text(dir, "chat_template.jinja")? {
        all.push((DEFAULT.to_owned(), template));
    }
    for name in FOLDERS {
        let folder = dir.join(name);
        let mut files = match std::fs::read_dir(&folder) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|source| Error::Io { path: folder.clone(), source })?,
            Err(_) => continue,
        };
        files.sort();
        for file in files.iter().filter_map(|file| file.to_str()) {
            if let Some(stem) = file.strip_suffix(".jinja")
                && let Some(template) = folder::text(&folder, file)?
            {
                all.push((stem.to_owned(), template));
            }
        }
    }
    Ok((!all.is_empty()).then_some(all))
}
