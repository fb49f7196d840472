//! What a verification found, as data: the JSON that a pipeline reads, and all that a page or a summary is made from.
//!
//! Numbers that cannot be had are `None`, and `null` in JSON; no field is ever NaN or infinite. Shares lie in 0..=1,
//! KL divergences are in nats, sizes in bytes.

mod embeddings;
mod metrics;
mod rounding;
mod statistics;

pub use embeddings::{Embeddings, WorstText};
pub use metrics::{DeltaP, Kld, Metrics, Statistic};
pub use rounding::{RoundedScale, RoundedTensor, Rounding};

use serde::{Deserialize, Serialize};

pub use crate::run::executor::Activations;

/// The version of the JSON. It changes when a field goes or changes its meaning; new fields do not change it.
pub const SCHEMA: u32 = 1;

/// All that is known after a verification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Who made it.
    pub tool: Tool,
    /// How it ended.
    pub verdict: Verdict,
    /// Why, a sentence each: failed gates, mismatches, what was interrupted. Empty for a pass.
    pub reasons: Vec<String>,
    /// The original.
    pub reference: Model,
    /// The one under test.
    pub candidate: Model,
    /// How the text was cut and scored.
    pub protocol: Protocol,
    /// How products were computed.
    pub precision: Precision,
    /// What became of activations before they met a quantized weight.
    pub activations: Activations,
    /// What makes the two comparable, or not. In the order of the checks.
    pub comparability: Vec<Check>,
    /// How much of the candidate is quantized.
    pub coverage: Coverage,
    /// Each weight of the candidate against the reference's. In the order of execution.
    pub tensors: Vec<Tensor>,
    /// How the candidate's weights were rounded, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// The statistics; `None` where nothing was scored.
    pub metrics: Option<Metrics>,
    /// What became of vectors of texts, of models without a head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<Embeddings>,
    /// How much of the drift is this machine's arithmetic.
    pub noise: Option<Noise>,
    /// The drift of hidden states; the first is the embedding.
    pub layers: Vec<Layer>,
    /// The statistics of each text, in the order given.
    pub slices: Vec<Slice>,
    /// The statistics after each group of sequences, in the order of the text.
    pub running: Vec<Running>,
    /// The tokens of the largest KL divergence, worst first.
    pub worst: Vec<Worst>,
    /// How the KL divergences of all tokens are spread.
    pub kld_histogram: Vec<Bin>,
    /// What was asked of the candidate, and the answers.
    pub gates: Vec<Gate>,
    /// The report of an earlier release that gates were held against.
    pub baseline: Option<String>,
    /// Threads that computed.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Wall time, seconds.
    pub seconds: f64,
    /// Peak of anonymous memory of the process, bytes.
    pub peak_anon_bytes: u64,
}

/// Who made a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `planish`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// How a verification ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every gate passed.
    Pass,
    /// A gate failed.
    Fail,
    /// No gate failed, but the interval of one reaches over its limit.
    Inconclusive,
    /// The two are not versions of one model: nothing was measured that could be trusted.
    Incomparable,
    /// Somebody stopped it: the numbers are those of the part that was done. Gates were not judged.
    Interrupted,
}

impl Verdict {
    /// The word that JSON has too.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Incomparable => "incomparable",
            Verdict::Interrupted => "interrupted",
        }
    }
}

/// One of the two models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// As it was opened.
    pub path: String,
    /// A name for people.
    pub name: String,
    /// `gguf`, or `huggingface` for a folder.
    pub format: String,
    /// The architecture, as Hugging Face calls it.
    pub architecture: String,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Bits a parameter.
    pub bits_per_weight: f64,
}

/// How the text was cut and scored. Numbers of different protocols do not compare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// `chunks` (llama-perplexity's), `stride` (Hugging Face's), `masked` (one token in seven is hidden and guessed) or
    /// `lines` (a vector for each).
    pub name: String,
    /// A sentence for people.
    pub description: String,
    /// Tokens of a sequence.
    pub context: usize,
    /// Tokens between the beginnings of sequences.
    pub stride: usize,
    /// The token that each sequence begins with, if one was set.
    pub bos: Option<u32>,
    /// Sequences that were scored.
    pub sequences: usize,
    /// Sequences that the texts and `--chunks` amount to.
    pub planned: usize,
    /// Sequences that ran together; changes no number.
    pub batch: usize,
    /// Bits that fix the texts: FNV-1a over their ids, in hexadecimal.
    pub corpus: String,
}

/// How products were computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precision {
    /// What was asked for: `f32`, `bf16-split` or `bf16`.
    pub asked: String,
    /// What was done: the same, or `f32` where the machine does not multiply bf16.
    pub used: String,
}

/// One condition for a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was compared: `architecture`, `vocabulary`, `tokenizer`, `rope`, `chat_template` ...
    pub check: String,
    /// The answer.
    pub status: Status,
    /// What the reference has.
    pub reference: String,
    /// What the candidate has.
    pub candidate: String,
    /// A sentence for people; empty where the two are the same.
    pub message: String,
}

/// The answer of a [`Check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The same in both.
    Same,
    /// Different, and to be known; the numbers stand.
    Warning,
    /// Different: the two cannot be compared.
    Different,
    /// Could not be told, and `message` says why.
    Unknown,
}

impl Status {
    /// The word that JSON has too.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Same => "same",
            Status::Warning => "warning",
            Status::Different => "different",
            Status::Unknown => "unknown",
        }
    }
}

/// How much of the candidate is quantized.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Elements of all matrices and vectors that the model runs.
    pub weights: u64,
    /// Elements stored in fewer than 16 bits.
    pub quantized: u64,
    /// `quantized / weights`.
    pub share: f64,
    /// Bits a weight, over all.
    pub bits_per_weight: f64,
    /// By type of storage, most weights first.
    pub types: Vec<StorageShare>,
}

/// One type of storage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StorageShare {
    /// `Q4_K`, `BF16`.
    #[serde(rename = "type")]
    pub storage: String,
    /// Tensors.
    pub tensors: usize,
    /// Elements.
    pub weights: u64,
    /// Bytes.
    pub bytes: u64,
    /// Bits an element.
    pub bits: f64,
}

/// One weight of the candidate, held against the reference's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// Its GGUF name, or the checkpoint's where GGUF has none.
    pub name: String,
    /// The number of its layer, if it is in one.
    pub block: Option<usize>,
    /// What it is for: `attn_q`, `ffn_down`.
    pub role: String,
    /// How the candidate stores it.
    #[serde(rename = "type")]
    pub storage: String,
    /// How the reference stores it.
    pub reference_type: String,
    /// Elements.
    pub weights: u64,
    /// Bits an element in the candidate.
    pub bits: f64,
    /// The norm of the difference over the norm of the reference's: 0 the same, 1 all zero, 1.4 unrelated. `None` where
    /// the reference is all zero and the candidate is not.
    pub relative_error: Option<f64>,
    /// What is wrong with it, if anything is.
    pub problem: Option<String>,
}

/// How much of the drift is arithmetic: each model against itself, in the precision that was used and in f32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// The mean KL divergence, the larger of both models'; 0 where the precision is f32, whose bits do not depend on the machine.
    pub kld: f64,
    /// Sequences that it was measured on; 0 where it is known.
    pub sequences: usize,
    /// Scored tokens of them.
    pub tokens: usize,
    /// Whether the candidate's mean KL divergence is below it: then the drift cannot be told from noise.
    pub drift_below: bool,
    /// A sentence for people.
    pub note: String,
}

/// The drift of the hidden states that a layer leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The reference's name of it.
    pub name: String,
    /// Its number, if it is one of the blocks.
    pub block: Option<usize>,
    /// The norm of the difference over the norm of the reference's states.
    pub relative_error: Option<f64>,
    /// The cosine between the two.
    pub cosine: Option<f64>,
}

/// The statistics of one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// The text's file.
    pub file: String,
    /// Tokens in all of it.
    pub text_tokens: usize,
    /// Sequences of it that were scored.
    pub sequences: usize,
    /// Its statistics; `None` where nothing of it was scored.
    pub metrics: Option<Metrics>,
}

/// The statistics up to the end of a group of sequences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Sequences so far.
    pub sequences: usize,
    /// Scored tokens so far.
    pub tokens: usize,
    /// Perplexity of the reference.
    pub ppl_ref: Option<f64>,
    /// Perplexity of the candidate.
    pub ppl_cand: Option<f64>,
    /// Mean KL divergence.
    pub kld: Option<f64>,
}

/// A token that the candidate sees very differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// The text's file.
    pub file: String,
    /// Its sequence, counted over all texts.
    pub sequence: usize,
    /// Its position in the sequence.
    pub position: usize,
    /// The text before it.
    pub before: String,
    /// The token that came next.
    pub token: String,
    /// The text after it.
    pub after: String,
    /// The id of the token that came next.
    pub id: u32,
    /// KL divergence, nats.
    pub kld: f64,
    /// The probability that the reference gave the token that came next.
    pub p_ref: f64,
    /// The probability that the candidate gave it.
    pub p_cand: f64,
    /// What the reference found most likely.
    pub best_ref: String,
    /// What the candidate found most likely.
    pub best_cand: String,
}

/// Tokens whose KL divergence lies in `low..high`, nats. The first bin begins at 0 and the last has no end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: Option<f64>,
    /// Tokens in it.
    pub count: usize,
}

/// One condition on a metric, and the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The metric's dotted name.
    pub metric: String,
    /// `<=`, `<`, `>=` or `>`.
    pub op: String,
    /// The limit.
    pub limit: f64,
    /// The value found; `None` where the metric is missing.
    pub value: Option<f64>,
    /// Its 95 % interval, if it has one: then the bound decides.
    pub ci95: Option<[f64; 2]>,
    /// The answer.
    pub verdict: GateVerdict,
    /// Who asked: `--gate`, the configuration file, `baseline`, `built-in`.
    pub source: String,
    /// A sentence for people.
    pub message: String,
}

/// The answer of a [`Gate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateVerdict {
    /// The whole interval is within the limit.
    Pass,
    /// The whole interval is beyond it, or the metric is missing.
    Fail,
    /// The limit is inside the interval.
    Inconclusive,
}

impl GateVerdict {
    /// The word that JSON has too.
    pub const fn name(self) -> &'static str {
        match self {
            GateVerdict::Pass => "pass",
            GateVerdict::Fail => "fail",
            GateVerdict::Inconclusive => "inconclusive",
        }
    }
}
