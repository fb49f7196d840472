//! `planish calibrate`: an importance matrix from text.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;
use planish::checkpoint::Checkpoint;
use planish::imatrix::{self, Imatrix, Summary};
use planish::model::{Op, Role};
use planish::run::executor::Settings;
use planish::run::{self, Calibration, Chunks, PeakAnon, Place, Subject};
use planish::text::Encoder;
use serde_json::json;

use super::device;
use super::exit::UsageError;
use super::options::{Adapters, parse_size};
use super::progress;
use super::show::{self, Out};
use super::work::threads;

/// Make an importance matrix: how much each input channel of each weight matters on some text.
///
/// The file is llama-imatrix's, and llama-quantize reads it. Sums are exact: runs over parts of the texts, merged, give
/// the bits of one run over all of them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A checkpoint folder, a GGUF, or `owner/name` in the local Hugging Face cache. Not needed to merge only.
    model: Option<PathBuf>,
    #[command(flatten)]
    adapters: Adapters,
    /// A text to run the model on. Repeatable: each is cut into chunks by itself.
    #[arg(long, value_name = "FILE")]
    text: Vec<PathBuf>,
    /// Add the sums of these importance matrices.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    merge: Vec<PathBuf>,
    /// The file to write.
    #[arg(short, long, value_name = "FILE", default_value = "imatrix.gguf")]
    output: PathBuf,
    /// Replace what stands under that name.
    #[arg(long)]
    force: bool,
    /// Keep the sums in OUTPUT.journal after every so many chunks; the same command takes up an interrupted run there.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    save_every: Option<u32>,
    #[command(flatten)]
    cutting: Cutting,
    /// Number of threads; by default one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// How the texts are cut and what is looked at.
#[derive(clap::Args)]
pub(crate) struct Cutting {
    /// Tokens a chunk.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(4..))]
    ctx: u32,
    /// Use so many chunks at most, over all texts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunks: Option<u32>,
    /// Leave out so many chunks first.
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_chunks: u32,
    /// Take the markup of special tokens in the texts for those tokens.
    #[arg(long)]
    parse_special: bool,
    /// Look at output.weight too.
    #[arg(long)]
    process_output: bool,
    /// Measure every expert on every token, not on those alone that go to it: none is left without, at the price of running
    /// all of them.
    #[arg(long)]
    every_expert: bool,
    /// Hidden states to keep in memory, 500M or 4G; more go to a temporary file.
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = parse_size)]
    memory: u64,
    /// A folder with the tokenizer.json to use instead of the model's own.
    #[arg(long, value_name = "FOLDER")]
    tokenizer: Option<PathBuf>,
}

impl Cutting {
    /// The usual but for the size and the number of chunks, and the memory.
    pub(crate) fn new(ctx: u32, chunks: Option<u32>, memory: u64) -> Cutting {
        let (parse_special, process_output, every_expert) = (false, false, false);
        Cutting { ctx, chunks, skip_chunks: 0, parse_special, process_output, every_expert, memory, tokenizer: None }
    }

    /// Bytes of hidden states to keep in memory.
    pub(crate) fn memory(&self) -> usize {
        usize::try_from(self.memory).unwrap_or(usize::MAX)
    }
}

/// What a run made.
pub(crate) struct Made {
    pub(crate) imatrix: Imatrix,
    /// Weights of linear layers that have no entry.
    without: Vec<String>,
    tokens: usize,
    elapsed: Duration,
    peak_anon_bytes: u64,
}

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<()> {
    if args.text.is_empty() && args.merge.is_empty() {
        return Err(UsageError("nothing to do: give --text FILE, or --merge FILE FILE".to_owned()).into());
    }
    run::check_name(&args.output, args.force)?;
    // Those that are read are read before anything long begins.
    let merged = args.merge.iter().map(|path| Ok((path, Imatrix::read(path)?)));
    let merged = merged.collect::<anyhow::Result<Vec<_>>>()?;
    let made = match (&args.model, args.text.is_empty()) {
        (_, true) => None,
        (None, false) => return Err(UsageError("--text needs a model to run".to_owned()).into()),
        (Some(model), false) => {
            let keep = args.save_every.map(|every| (every as usize, journal(&args.output)));
            Some(run_on(&args.adapters.open(model)?, &args.text, &args.cutting, args.threads, keep, device::place()?)?)
        }
    };
    let mut imatrix = Imatrix::default();
    for (path, other) in &merged {
        imatrix.merge(other).map_err(|problem| imatrix::Error::Bad { path: (*path).clone(), problem })?;
    }
    if let Some(made) = &made {
        imatrix.merge(&made.imatrix).map_err(|problem| imatrix::Error::Bad { path: args.output.clone(), problem })?;
    }
    imatrix.write(&args.output)?;
    if made.is_some() && args.save_every.is_some() {
        let journal = journal(&args.output);
        std::fs::remove_file(&journal).with_context(|| format!("{}: cannot remove", journal.display()))?;
    }
    tell(args, &imatrix, made.as_ref(), out)
}

/// Where the sums of an unfinished run are.
fn journal(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

/// Runs the model of `checkpoint` over `texts`. `keep`: after how many chunks sums are written, and where to.
pub(crate) fn run_on(
    checkpoint: &Checkpoint,
    texts: &[PathBuf],
    cutting: &Cutting,
    asked: Option<u16>,
    keep: Option<(usize, PathBuf)>,
    place: Place,
) -> anyhow::Result<Made> {
    let (start, peak) = (Instant::now(), PeakAnon::start());
    let subject = Subject::of(checkpoint)?;
    let Ids { ids, tokens } = cut(checkpoint, texts, cutting)?;
    let job = Calibration {
        model: &subject.model,
        source: &checkpoint.source,
        ids: &ids,
        tokens,
        settings: Settings { memory: cutting.memory(), place, ..Settings::default() },
        head: cutting.process_output,
        every_expert: cutting.every_expert,
    };
    let bar = progress::steps().with_message("layers");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads(asked)).build().context("cannot start threads")?;
    let chunk_count = ids.len() / tokens;
    let entries = if let Some((every, journal)) = keep {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // What is in the journal stays; the rest of a part is lost.
            signal_hook::flag::register_conditional_shutdown(signal, 75, Arc::new(AtomicBool::new(true)))
                .context("cannot handle signals")?;
        }
        let parts = chunk_count.div_ceil(every);
        let mut told = |done: usize, layer: usize, of: usize| {
            bar.set_length((parts * of) as u64);
            bar.set_position((done.div_ceil(every) * of + layer) as u64);
        };
        pool.install(|| run::calibrate_in_parts(&job, every, &journal, &mut told)).map(|sums| sums.entries)
    } else {
        let mut told = |layer: usize, of: usize| {
            bar.set_length(of as u64);
            bar.set_position(layer as u64);
        };
        pool.install(|| run::calibrate(&job, &mut told))
    };
    bar.finish_and_clear();
    let imatrix = Imatrix {
        datasets: texts.iter().map(|path| path.display().to_string()).collect(),
        chunks: u32::try_from(chunk_count).unwrap_or(u32::MAX),
        chunk_size: cutting.ctx,
        entries: entries?,
    };
    let linear = subject.model.stacks.iter().flat_map(|stack| &stack.layers).flat_map(|layer| &layer.ops);
    let weights = linear.filter_map(Op::reads).map(|(_, weight)| weight);
    let without = weights.filter(|w| w.role != Role::TokenEmbd && !imatrix.entries.contains_key(&w.name));
    let without = without.map(|weight| weight.name.clone()).collect();
    let (elapsed, peak_anon_bytes) = (start.elapsed(), peak.bytes());
    Ok(Made { imatrix, without, tokens: ids.len(), elapsed, peak_anon_bytes })
}

/// Whole chunks, one after another.
pub(crate) struct Ids {
    pub(crate) ids: Vec<u32>,
    /// Of a chunk.
    pub(crate) tokens: usize,
}

/// Cuts texts into chunks of ids.
pub(crate) fn cut(checkpoint: &Checkpoint, texts: &[PathBuf], cutting: &Cutting) -> anyhow::Result<Ids> {
    let mut encoder = encoder(checkpoint, cutting.tokenizer.as_deref())?;
    encoder.parse_special(cutting.parse_special);
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("{}: cannot read as UTF-8 text", path.display()))
    };
    let contents = texts.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let limit = cutting.chunks.map_or(usize::MAX, |n| n as usize);
    let whole = Subject::of(checkpoint)?.config.encoder.is_some();
    let chunks = Chunks { tokens: cutting.ctx as usize, skip: cutting.skip_chunks as usize, limit, whole };
    Ok(Ids { ids: chunks.cut(&encoder, &contents)?, tokens: chunks.tokens })
}

fn encoder(checkpoint: &Checkpoint, named: Option<&Path>) -> anyhow::Result<Encoder> {
    let encoder = named.map_or_else(|| Encoder::of(checkpoint), Encoder::folder);
    Ok(encoder.map_err(run::CalibrateError::from)?)
}

fn tell(args: &Args, imatrix: &Imatrix, made: Option<&Made>, out: &Out) -> anyhow::Result<()> {
    let unseen: usize = imatrix.entries.values().map(planish::imatrix::Entry::unseen).sum();
    if unseen > 0 {
        out.warning(&format!("{unseen} experts saw no token; a longer text would reach more of them"));
    }
    out.result(
        || {
            let chunks = format!("{} of {} tokens", imatrix.chunks, imatrix.chunk_size);
            let mut rows = vec![("weights", imatrix.entries.len().to_string()), ("chunks", chunks)];
            if let Some(made) = made {
                let seconds = made.elapsed.as_secs_f64();
                let speed = made.tokens as f64 / seconds;
                if !made.without.is_empty() {
                    rows.push(("left out", made.without.join(", ")));
                }
                rows.push(("time", format!("{seconds:.2} s, {speed:.0} tokens a second")));
                rows.push(("memory", format!("{} beside the page cache", show::bytes(made.peak_anon_bytes))));
            }
            rows.push(("written", args.output.display().to_string()));
            show::facts(&rows) + &experts(imatrix)
        },
        || {
            json!({
                "weights": imatrix.entries.len(),
                "chunks": imatrix.chunks,
                "chunk_size": imatrix.chunk_size,
                "datasets": imatrix.datasets,
                "experts_without_tokens": unseen,
                "experts": stacks(imatrix).map(|(name, stack)| json!({
                    "name": name,
                    "experts": stack.matrices,
                    "unseen": stack.unseen,
                    "tokens": {"least": stack.tokens.0, "most": stack.tokens.1},
                })).collect::<Vec<_>>(),
                "without": made.map(|made| &made.without),
                "tokens": made.map(|made| made.tokens),
                "seconds": made.map(|made| made.elapsed.as_secs_f64()),
                "peak_anon_bytes": made.map(|made| made.peak_anon_bytes),
                "file": args.output,
            })
        },
    )
}

/// What is known of each stack of experts.
fn stacks(imatrix: &Imatrix) -> impl Iterator<Item = (&String, Summary)> {
    let found = imatrix.entries.iter().map(|(name, entry)| (name, Summary::new(entry, 0)));
    found.filter(|(_, found)| found.matrices > 1)
}

/// How many tokens reached the experts of each stack, if there are any.
fn experts(imatrix: &Imatrix) -> String {
    let rows: Vec<Vec<String>> = stacks(imatrix)
        .map(|(name, stack)| {
            let (least, most) = stack.tokens;
            let numbers = [stack.matrices.to_string(), least.to_string(), most.to_string(), stack.unseen.to_string()];
            std::iter::once(name.clone()).chain(numbers).collect()
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", show::table(&["stack", ">experts", ">least tokens", ">most", ">unseen"], &rows))
}
