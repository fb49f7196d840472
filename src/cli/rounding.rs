//! `quantize --method`: rounding that sees what flows through the model.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use planish::checkpoint::Checkpoint;
use planish::method::{METHODS, Method};
use planish::run::executor::Settings;
use planish::run::{self, Destination, Fingerprint, Journal, Layerwise, Log, Place, Subject};
use planish::verify::report::{RoundedScale, RoundedTensor, Rounding};
use planish_kernels::cpu::Precision;

use super::calibrate::{self, Cutting, Ids};
use super::exit::UsageError;
use super::{progress, show};

/// How weights are rounded.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How weights are rounded: nearest, gptq (errors are made good by the weights that come after), awq (channels that
    /// matter are scaled up first), or awq+gptq. All but the first see what flows through the model for the texts of
    /// --calibrate.
    #[arg(long, value_name = "METHOD", requires = "texts", value_parser = parse)]
    pub(crate) method: Option<Asked>,
    /// Let a layer see what the layers before it were, rather than what they have become.
    #[arg(long, requires = "method")]
    pub(crate) from_original: bool,
    /// Go on with a run of --method that was interrupted, after the last layer that was done.
    #[arg(long, requires = "method")]
    pub(crate) resume: bool,
    /// Keep no record to resume from. (It is a folder beside the output while the run lasts, with all that is done and the
    /// hidden states of the texts.)
    #[arg(long, requires = "method", conflicts_with = "resume")]
    pub(crate) no_journal: bool,
}

/// What `--method` asks for: channels scaled first or not, and how matrices are rounded then.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    rescale: bool,
    method: &'static dyn Method,
}

impl Asked {
    /// What it is called, whether or not layers see what others have become.
    pub(crate) fn name(self) -> String {
        let name = self.method.name();
        match (self.rescale, name) {
            (true, "nearest") => "awq".to_owned(),
            (true, name) => format!("awq+{name}"),
            (false, name) => name.to_owned(),
        }
    }
}

/// Reads `awq`, a method's name, or both joined by `+`.
pub(crate) fn parse(text: &str) -> Result<Asked, String> {
    let (rescale, name) = match text.split_once('+') {
        Some(("awq", name)) => (true, name),
        None if text == "awq" => (true, "nearest"),
        _ => (false, text),
    };
    if let Some(method) = METHODS.iter().find(|method| method.name() == name) {
        return Ok(Asked { rescale, method: *method });
    }
    let names: Vec<&str> = METHODS.iter().map(|method| method.name()).collect();
    Err(format!("no such method; methods: {} awq awq+gptq", names.join(" ")))
}

/// Everything that is needed to round the weights of one model.
pub(crate) struct Job {
    asked: Asked,
    subject: Subject,
    ids: Ids,
    settings: Settings,
    keeping: Keeping,
    from_original: bool,
}

impl Job {
    /// Reads and cuts the texts.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        asked: Asked,
        checkpoint: &Checkpoint,
        texts: &[PathBuf],
        cutting: &Cutting,
        keeping: Keeping,
        from_original: bool,
        precision: Precision,
        place: Place,
    ) -> anyhow::Result<Job> {
        let subject = Subject::of(checkpoint)?;
        let ids = calibrate::cut(checkpoint, texts, cutting)?;
        let memory = cutting.memory();
        let settings = Settings { memory, precision, attention: precision, place, ..Settings::default() };
        Ok(Job { asked, subject, ids, settings, keeping, from_original })
    }

    /// The same for a folder, whose linears are the checkpoint's.
    pub(crate) fn expanded(self) -> Job {
        let Subject { model, .. } = self.subject;
        Job { subject: Subject { model: model.expanded(), ..self.subject }, ..self }
    }

    /// Rounds the weights of all layers and puts them where they go.
    pub(crate) fn run(
        &self,
        checkpoint: &Checkpoint,
        destination: &dyn Destination,
        threads: usize,
        cancel: &AtomicBool,
    ) -> anyhow::Result<(Log, Option<Journal>)> {
        let layers = Layerwise {
            model: &self.subject.model,
            source: &checkpoint.source,
            ids: &self.ids.ids,
            tokens: self.ids.tokens,
            settings: self.settings,
            method: self.asked.method,
            rescale: self.asked.rescale,
            from_original: self.from_original,
            destination,
        };
        let mut journal = self.keeping.open(layers.fingerprint())?;
        let bar = progress::steps().with_message("layers");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")?;
        let (mut at, resumable) = ((0, 0), journal.is_some());
        let mut told = |done: usize, of: usize| {
            at = (done, of);
            bar.set_length(of as u64);
            bar.set_position(done as u64);
            if cancel.load(Ordering::Relaxed) { Err(run::Error::Interrupted) } else { Ok(()) }
        };
        let log = pool.install(|| layers.run(journal.as_mut(), &mut told)).map_err(anyhow::Error::from);
        let log = log.map_err(|error| match at {
            (1.., _) if resumable => {
                error.context(format!("{} of {} layers are done, and `--resume` goes on there", at.0, at.1))
            }
            _ => error,
        })?;
        bar.finish_and_clear();
        Ok((log, journal))
    }
}

/// What is kept of a run that may be interrupted, and whether it is one that was.
pub(crate) struct Keeping {
    pub(crate) folder: PathBuf,
    pub(crate) keep: bool,
    pub(crate) resume: bool,
}

impl Keeping {
    fn open(&self, fingerprint: Fingerprint) -> anyhow::Result<Option<Journal>> {
        Ok(match (self.keep, self.resume) {
            (_, true) => Some(Journal::resume(&self.folder, fingerprint).map_err(run::Error::from)?),
            (true, false) => Some(Journal::begin(&self.folder, fingerprint).map_err(run::Error::from)?),
            (false, false) => None,
        })
    }
}

/// What to say of quantized weights that no layer's program reads: they are rounded to nearest.
pub(crate) fn unseen<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut names = names.peekable();
    let first = (*names.peek()?).to_owned();
    let count = names.count();
    Some(format!("{count} weights are not seen by the method and are rounded to nearest, {first} first"))
}

/// How it went, as reports have it.
pub(crate) fn account(log: &Log) -> Rounding {
    let tensors = log.solved.iter().map(|solved| RoundedTensor {
        tensor: solved.name.clone(),
        storage: solved.ty.clone(),
        loss_nearest: solved.account.nearest,
        loss: solved.account.loss,
        damping: solved.account.damping,
        dead_channels: solved.account.dead,
        fell_back: solved.account.fell_back,
        whole_blocks: solved.whole_blocks,
        seconds: solved.elapsed.as_secs_f64(),
    });
    let scales = log.scaled.iter().map(|scaled| RoundedScale {
        maker: scaled.maker.clone(),
        loss_before: scaled.loss[0],
        loss_after: scaled.loss[1],
    });
    Rounding { tensors: tensors.collect(), scales: scales.collect(), resumed_layers: log.resumed }
}

/// The account that the JSON of an earlier `quantize --method` has.
pub(crate) fn read(path: &Path) -> anyhow::Result<Rounding> {
    #[derive(serde::Deserialize)]
    struct Told {
        rounding: Rounding,
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
    let told: Told = serde_json::from_str(&text).map_err(|error| {
        UsageError(format!("{}: is not what quantize --method --json tells: {error}", path.display()))
    })?;
    Ok(told.rounding)
}

/// How it went, for people.
pub(crate) fn text(rounding: &Rounding) -> String {
    let share = |share: f64| format!("{:.3} %", share * 100.0);
    let rows: Vec<Vec<String>> = (rounding.tensors.iter())
        .map(|tensor| {
            vec![
                tensor.tensor.clone(),
                tensor.storage.clone(),
                share(tensor.loss_nearest),
                share(tensor.loss),
                if tensor.damping > 0.0 { format!("{:.3}", tensor.damping) } else { String::new() },
                format!("{:.2}", tensor.seconds),
                tensor.remarks().join("; "),
            ]
        })
        .collect();
    let resumed = match rounding.resumed_layers {
        0 => String::new(),
        layers => format!("{layers} layers were done before the interruption\n"),
    };
    resumed + &show::table(&["tensor", "type", ">nearest", ">loss", ">damping", ">seconds", "remarks"], &rows)
}
