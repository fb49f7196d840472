//! Whether two checkpoints are versions of one model: what has to be the same before a number means anything.

use std::fmt::Debug;

use planish_formats::gguf::Kv;

use super::party::Party;
use super::report::{Check, Status};
use super::{Result, Text};
use crate::checkpoint::Pooling;
use crate::model::{Config, Pair, Rope, Scaling};
use crate::run::Subject;
use crate::text::{self, Encoder};

/// What splits differently under different pre-tokenizers, whether or not the texts have any of it: contractions, runs
/// of digits, spaces and lines, several scripts, code.
const PROBE: &str = "It's 1234567 o'clock; WE'RE  here,\tthey'll   pay $3,141.59!\n\n\n  \u{e9}t\u{e9} na\u{ef}ve \
\u{4f60}\u{597d}\u{ff0c}\u{4e16}\u{754c} \u{3053}\u{3093}\u{306b}\u{3061}\u{306f} \u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \
\u{661}\u{662}\u{663} \u{1f680}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\nfn main() { x += 0x1F; } // a_b-c/d\\e\r\n   'Twas 2nd.";

/// All checks in the order in which they matter, and the ids of the texts: by the reference's tokenizer, or the
/// candidate's if that is the only one.
pub(super) fn check(
    reference: &Party<'_>,
    candidate: &Party<'_>,
    context: usize,
    texts: &[Text],
) -> Result<(Vec<Check>, Vec<Vec<u32>>)> {
    let (a, b) = (&reference.subject, &candidate.subject);
    // Encoders of several families are one architecture in GGUF.
    let encoders = a.config.encoder.is_some() && b.config.encoder.is_some();
    let in_gguf = |subject: &Subject| subject.architecture.gguf.as_ref().filter(|_| encoders).map(|gguf| gguf.name);
    let [name_a, name_b] = match (in_gguf(a), in_gguf(b)) {
        (Some(x), Some(y)) if x == y => [x; 2],
        _ => [a.architecture.name, b.architecture.name],
    };
    let mut checks = vec![fact("architecture", &name_a, &name_b)];
    checks.extend(shape(&a.config, &b.config));
    checks.push(rope(&a.config, &b.config));
    checks.push(windows(&a.config, &b.config, context));
    checks.extend(vocabulary(reference, candidate));
    let (tokenizer, ids) = tokenizers(reference, candidate, texts)?;
    checks.extend(tokenizer);
    checks.extend(pre_tokenizer(reference, candidate));
    checks.push(trained_context(&a.config, &b.config));
    checks.push(chat_template(reference, candidate));
    Ok((checks, ids))
}

fn same(check: &str, value: impl Into<String>) -> Check {
    let value = value.into();
    Check {
        check: check.to_owned(),
        status: Status::Same,
        reference: value.clone(),
        candidate: value,
        message: String::new(),
    }
}

/// How vectors are made, or the two ways.
pub(super) fn pooling(found: std::result::Result<Pooling, [Pooling; 2]>) -> Check {
    let (a, b) = found.map_or_else(|[a, b]| (a, b), |pooling| (pooling, pooling));
    fact("pooling", &a.name(), &b.name())
}

/// Two values that have to be equal.
fn fact<T: Debug + PartialEq>(check: &str, reference: &T, candidate: &T) -> Check {
    let text = |value: &T| format!("{value:?}").trim_matches('"').to_owned();
    unlike(check, reference == candidate, text(reference), text(candidate))
}

/// Two descriptions of what is equal or not.
fn unlike(check: &str, equal: bool, reference: String, candidate: String) -> Check {
    if equal {
        return same(check, reference);
    }
    let name = check.replace('_', " ");
    let message = format!("{name}: {reference} in the reference, {candidate} in the candidate");
    Check { check: check.to_owned(), status: Status::Different, reference, candidate, message }
}

/// The sizes and functions of the layers.
fn shape(a: &Config, b: &Config) -> Vec<Check> {
    vec![
        fact("layers", &a.layers, &b.layers),
        fact("hidden_size", &a.hidden, &b.hidden),
        fact("vocabulary_size", &a.vocab, &b.vocab),
        unlike("heads", heads(a) == heads(b), heads(a), heads(b)),
        fact("feed_forward_size", &a.ffn, &b.ffn),
        fact("activation", &a.act, &b.act),
        // GGUF keeps it in f32.
        fact("decoder", &a.pair.map(beside), &b.pair.map(beside)),
        fact("norm_epsilon", &(a.eps as f32), &(b.eps as f32)),
    ]
}

/// What a decoder beside an encoder is; the ends of texts are told by the tokenizer's own check.
fn beside(pair: Pair) -> Pair {
    Pair { end: None, ..pair }
}

fn heads(config: &Config) -> String {
    format!("{} of queries, {} of keys, {} wide", config.heads, config.kv_heads, config.head_dim)
}

/// Ropes are the same when they turn by the same angles, however that is written down.
fn rope(a: &Config, b: &Config) -> Check {
    let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * a.abs().max(b.abs());
    let equal = a.sections == b.sections
        && match (&a.rope, &b.rope) {
            (None, None) => true,
            (Some(x), Some(y)) if a.head_dim == b.head_dim && a.rotary == b.rotary => {
                let (x, y) = (x.frequencies(a.rotary), y.frequencies(b.rotary));
                near(x.scale, y.scale)
                    && x.inverse.iter().zip(&y.inverse).all(|(x, y)| near(*x, *y))
                    && x.long == y.long
            }
            (Some(x), Some(y)) => x == y,
            (Some(_), None) | (None, Some(_)) => false,
        };
    unlike("rope", equal, rope_text(a.rope.as_ref()), rope_text(b.rope.as_ref()))
}

fn rope_text(rope: Option<&Rope>) -> String {
    let Some(Rope { theta, scaling }) = rope else { return "none".to_owned() };
    let scaling = match scaling {
        Scaling::None => String::new(),
        Scaling::Linear { factor } => format!(", linear scaling by {factor}"),
        Scaling::Dynamic { factor } => format!(", dynamic scaling by {factor}"),
        Scaling::Llama3 { factor, low, high, original } => {
            format!(", llama3 scaling by {factor} (low {low}, high {high}, original context {original})")
        }
        Scaling::Long { original, .. } => format!(", longrope scaling (original context {original})"),
        Scaling::Yarn { factor, original, .. } => format!(", yarn scaling by {factor} (original context {original})"),
    };
    format!("theta {theta}{scaling}")
}

/// Sliding windows, as far as a sequence notices them.
fn windows(a: &Config, b: &Config, context: usize) -> Check {
    let felt = |config: &Config| -> Vec<Option<usize>> {
        config.windows.iter().map(|window| window.filter(|tokens| *tokens < context)).collect()
    };
    let text = |windows: &[Option<usize>]| {
        let sliding = windows.iter().flatten().count();
        match windows.iter().flatten().next() {
            Some(tokens) => format!("{sliding} layers of {tokens} tokens"),
            None => "none".to_owned(),
        }
    };
    let (a, b) = (felt(a), felt(b));
    // Another number of layers is told by itself.
    let same = a.iter().zip(&b).all(|(a, b)| a == b);
    unlike("sliding_windows", same, text(&a), text(&b))
}

/// A longer or shorter trained context changes no number here.
fn trained_context(a: &Config, b: &Config) -> Check {
    let check = fact("context_length", &a.context, &b.context);
    Check { status: if check.status == Status::Same { Status::Same } else { Status::Warning }, ..check }
}

/// The lists of tokens.
fn vocabulary(reference: &Party<'_>, candidate: &Party<'_>) -> Vec<Check> {
    let (a, b) = match (&reference.vocabulary, &candidate.vocabulary) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(why), _) => return vec![unknown("vocabulary", format!("the reference's vocabulary: {why}"))],
        (_, Err(why)) => return vec![unknown("vocabulary", format!("the candidate's vocabulary: {why}"))],
    };
    let list = |kv: &Kv| kv.strings("tokenizer.ggml.tokens").unwrap_or_default().to_vec();
    let (tokens_a, tokens_b) = (list(a), list(b));
    let count = |tokens: &[String]| format!("{} tokens", tokens.len());
    let mut check = unlike("vocabulary", tokens_a == tokens_b, count(&tokens_a), count(&tokens_b));
    if let Some(id) = tokens_a.iter().zip(&tokens_b).position(|(a, b)| a != b) {
        let differ = tokens_a.iter().zip(&tokens_b).filter(|(a, b)| a != b).count();
        check.message = format!(
            "vocabulary: token {id} is {:?} in the reference and {:?} in the candidate; {differ} tokens differ",
            tokens_a[id], tokens_b[id]
        );
    }
    vec![check, special(a, b)]
}

/// The tokens with a meaning.
fn special(a: &Kv, b: &Kv) -> Check {
    let text = |kv: &Kv| {
        let id = |key: &str| {
            let id = kv.unsigned(&format!("tokenizer.ggml.{key}_token_id"));
            id.map_or("none".to_owned(), |id| id.to_string())
        };
        format!("bos {}, eos {}", id("bos"), id("eos"))
    };
    let (a, b) = (text(a), text(b));
    let check = unlike("special_tokens", a == b, a, b);
    // They end generations; what is scored here does not notice.
    Check { status: if check.status == Status::Same { Status::Same } else { Status::Warning }, ..check }
}

fn unknown(check: &str, message: String) -> Check {
    let nothing = "unknown".to_owned();
    Check { check: check.to_owned(), status: Status::Unknown, reference: nothing.clone(), candidate: nothing, message }
}

/// Whether both tokenizers cut the texts and the probe alike, and the ids.
fn tokenizers(reference: &Party<'_>, candidate: &Party<'_>, texts: &[Text]) -> Result<(Vec<Check>, Vec<Vec<u32>>)> {
    let encode = |encoder: &Encoder| -> Result<Vec<Vec<u32>>, text::Error> {
        texts.iter().map(|text| encoder.encode(&text.text)).collect()
    };
    let tokenizer =
        |party: &Party<'_>, source| super::Error::Tokenizer { which: party.which, source: Box::new(source) };
    let (a, b) = match (&reference.encoder, &candidate.encoder) {
        (Ok(a), Ok(b)) => (a, b),
        (Ok(a), Err(why)) => {
            let ids = encode(a).map_err(|source| tokenizer(reference, source))?;
            let message = format!("the candidate's tokenizer cannot be run, the reference's served: {why}");
            return Ok((vec![unknown("tokenizer", message)], ids));
        }
        (Err(why), Ok(b)) => {
            let ids = encode(b).map_err(|source| tokenizer(candidate, source))?;
            let message = format!("the reference's tokenizer cannot be run, the candidate's served: {why}");
            return Ok((vec![unknown("tokenizer", message)], ids));
        }
        (Err(why), Err(_)) => {
            return Err(super::Error::NoTokenizer { why: why.to_string() });
        }
    };
    let (ids, others) = rayon::join(|| encode(a), || encode(b));
    let ids = ids.map_err(|source| tokenizer(reference, source))?;
    let others = others.map_err(|source| tokenizer(candidate, source))?;
    let probe = a.encode(PROBE).map_err(|source| tokenizer(reference, source))?;
    let other_probe = b.encode(PROBE).map_err(|source| tokenizer(candidate, source))?;
    let named = texts.iter().map(|text| text.name.as_str()).zip(ids.iter().zip(&others));
    let pairs = named.chain([("a built-in probe", (&probe, &other_probe))]);
    let count = |ids: &[Vec<u32>]| format!("{} tokens", ids.iter().map(Vec::len).sum::<usize>());
    let difference = pairs.into_iter().find_map(|(name, (x, y))| first_difference(name, a, x, b, y));
    let mut check = unlike("tokenizer", difference.is_none(), count(&ids), count(&others));
    if let Some(message) = difference {
        check.message = message;
    }
    let begins = |encoder: &Encoder| encoder.bos.map_or("none".to_owned(), |id| id.to_string());
    let bos = fact("first_token", &begins(a), &begins(b));
    Ok((vec![check, bos], ids))
}

/// Where two lists of ids part, with the text before it.
fn first_difference(name: &str, a: &Encoder, x: &[u32], b: &Encoder, y: &[u32]) -> Option<String> {
    const BEFORE: usize = 12;
    let at = x.iter().zip(y).position(|(x, y)| x != y).or((x.len() != y.len()).then(|| x.len().min(y.len())))?;
    let shown = |encoder: &Encoder, ids: &[u32]| match ids.get(at) {
        Some(id) => format!("{:?} ({id})", encoder.decode(&[*id])),
        None => "the end".to_owned(),
    };
    Some(format!(
        "tokenizer: {name}, token {at}, after {:?}: the reference's is {}, the candidate's {}",
        a.decode(&x[at.saturating_sub(BEFORE)..at]),
        shown(a, x),
        shown(b, y)
    ))
}

/// The names of the splittings. One that splits in another way breaks other texts, if not these.
fn pre_tokenizer(reference: &Party<'_>, candidate: &Party<'_>) -> Option<Check> {
    let name = |party: &Party<'_>| {
        let kv = party.vocabulary.as_ref().ok()?;
        Some(kv.str("tokenizer.ggml.pre")?.to_owned())
    };
    let (a, b) = (name(reference)?, name(candidate)?);
    // WordPiece splits in one way, whatever converters name it.
    let kind = reference.vocabulary.as_ref().ok().and_then(|kv| kv.str("tokenizer.ggml.model"));
    if kind == Some("bert") {
        return None;
    }
    let alike = text::split_alike(&a, &b);
    let mut check = unlike("pre_tokenizer", alike == Some(true), a, b);
    match alike {
        Some(true) => {}
        Some(false) => {
            let (a, b) = (&check.reference, &check.candidate);
            check.message =
                format!("tokenizer.ggml.pre should be {a:?} and is {b:?}, which splits text in another way");
        }
        None => {
            check.status = Status::Warning;
            check.message.push_str("; whether they split alike is not known");
        }
    }
    Some(check)
}

/// Another template changes what users see, not what is measured here.
fn chat_template(reference: &Party<'_>, candidate: &Party<'_>) -> Check {
    let (Ok(a), Ok(b)) = (&reference.vocabulary, &candidate.vocabulary) else {
        return unknown("chat_template", "a chat template could not be read".to_owned());
    };
    let template = |kv: &Kv| kv.str("tokenizer.chat_template").map(str::to_owned);
    let (a, b) = (template(a), template(b));
    let text = |template: &Option<String>| match template {
        Some(template) => format!("{} characters", template.chars().count()),
        None => "none".to_owned(),
    };
    let mut check = unlike("chat_template", a == b, text(&a), text(&b));
    if check.status == Status::Different {
        check.status = Status::Warning;
        if let (Some(a), Some(b)) = (&a, &b) {
            let at = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
            check.message = format!("{}; they part at character {at}", check.message);
        }
    }
    check
}
