//! `planish inspect` of an importance matrix.

use std::path::Path;

use anyhow::Context;
use planish::imatrix::{Entry, Imatrix, Summary};
use planish_formats::{Meta, gguf};
use serde_json::{Value, json};

use super::show::{self, Out};

/// Channels that are shown of each weight.
const TOP: usize = 3;

/// The importance matrix that `path` is, if it is one.
pub(crate) fn open(path: &Path) -> anyhow::Result<Option<Imatrix>> {
    let named = |end| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(end));
    let is_one = if named("gguf") && path.is_file() {
        let source = gguf::open(path)?;
        matches!(source.meta(), Meta::Gguf(kv) if kv.str("general.type") == Some("imatrix"))
    } else {
        named("dat") && path.is_file()
    };
    Ok(if is_one { Some(Imatrix::read(path)?) } else { None })
}

pub(crate) fn run(path: &Path, imatrix: &Imatrix, html: Option<&Path>, out: &Out) -> anyhow::Result<()> {
    if let Some(html) = html {
        let page = imatrix.heat_map(&path.display().to_string());
        std::fs::write(html, page).with_context(|| format!("{}: cannot write", html.display()))?;
    }
    out.result(|| text(path, imatrix, html), || as_json(path, imatrix))
}

fn text(path: &Path, imatrix: &Imatrix, html: Option<&Path>) -> String {
    let unseen: usize = imatrix.entries.values().map(Entry::unseen).sum();
    let exact = imatrix.entries.values().filter(|entry| entry.exact_sums().is_some()).count();
    let chunks = match (imatrix.chunks, imatrix.chunk_size) {
        (0, _) => "unknown".to_owned(),
        (chunks, 0) => chunks.to_string(),
        (chunks, size) => format!("{chunks} of {size} tokens"),
    };
    let mut facts = vec![
        ("importance", path.display().to_string()),
        ("weights", imatrix.entries.len().to_string()),
        ("chunks", chunks),
        ("texts", imatrix.datasets.join(", ")),
        ("exact sums", format!("{exact} of {}", imatrix.entries.len())),
    ];
    if unseen > 0 {
        facts.push(("unseen", format!("{unseen} experts saw no token")));
    }
    facts.extend(html.map(|html| ("heat map", html.display().to_string())));
    let rows: Vec<Vec<String>> = imatrix.entries.iter().map(|(name, entry)| row(name, entry)).collect();
    let headings =
        ["weight", ">channels", ">experts", ">unseen", ">tokens", ">mean square", ">faint", "loudest channels"];
    format!("{}\n{}", show::facts(&facts), show::table(&headings, &rows))
}

fn row(name: &str, entry: &Entry) -> Vec<String> {
    let found = Summary::new(entry, TOP);
    let stacked = found.matrices > 1;
    let top = found.top.iter().map(|top| {
        let place = if stacked { format!("{}/{}", top.matrix, top.channel) } else { top.channel.to_string() };
        format!("{place} {:.1} %", top.share * 100.0)
    });
    let (least, most) = found.tokens;
    vec![
        name.to_owned(),
        found.channels.to_string(),
        if stacked { found.matrices.to_string() } else { "-".to_owned() },
        if stacked { found.unseen.to_string() } else { "-".to_owned() },
        if least == most { most.to_string() } else { format!("{least}..{most}") },
        format!("{:.3e}", found.mean),
        format!("{:.1} %", found.sparsity * 100.0),
        top.collect::<Vec<_>>().join(", "),
    ]
}

fn as_json(path: &Path, imatrix: &Imatrix) -> Value {
    let weights = imatrix.entries.iter().map(|(name, entry)| {
        let found = Summary::new(entry, TOP);
        let top = found.top.iter().map(|top| json!({"matrix": top.matrix, "channel": top.channel, "share": top.share}));
        json!({
            "name": name,
            "channels": found.channels,
            "matrices": found.matrices,
            "unseen": found.unseen,
            "tokens": {"least": found.tokens.0, "most": found.tokens.1},
            "mean_square": found.mean,
            "sparsity": found.sparsity,
            "exact": entry.exact_sums().is_some(),
            "top": top.collect::<Vec<_>>(),
        })
    });
    json!({
        "imatrix": path,
        "datasets": imatrix.datasets,
        "chunks": imatrix.chunks,
        "chunk_size": imatrix.chunk_size,
        "weights": weights.collect::<Vec<_>>(),
    })
}
