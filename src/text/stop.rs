//! The texts at which a runtime stops to generate.

use super::special::Marks;
use super::table::{Kind, Table};

/// Texts that llama.cpp takes for ends of a generation wherever they are tokens.
const ENDS: [&str; 20] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// The texts of all tokens that end a generation, in the order of their ids.
pub(super) fn texts(table: &Table, marks: &Marks) -> Vec<String> {
    let named = [marks.ids.eos, marks.ids.eot, marks.ids.eom];
    let ends = |id: u32| named.contains(&Some(id)) || marks.ends.contains(&id);
    let known = |kind, text| matches!(kind, Kind::Control | Kind::UserDefined) && ENDS.contains(&text);
    let mut texts: Vec<String> = table
        .iter()
        .filter(|(id, token)| ends(*id) || known(token.kind, token.text.as_str()))
        .map(|(_, token)| token.text.clone())
        .filter(|text| !text.is_empty())
        .collect();
    // In the dialects that end messages for tools, <|end|> ends only a part of an answer.
    let has = |text: &str| texts.iter().any(|t| t == text);
    if (has("<|return|>") && has("<|call|>")) || (has("<|calls|>") && has("<|flush|>")) {
        texts.retain(|text| text != "<|end|>");
    }
    texts
}
