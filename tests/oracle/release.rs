//! A release made in this process.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use planish::checkpoint::Checkpoint;
use planish::plan::{self, Importance, Job, Overrides, Recipe, Request};
use planish::run::{self, Run};
use planish_formats::gguf;
use planish_kernels::Isa;

/// The job of giving `model` these types.
pub fn job(model: &Path, recipe: Recipe) -> Result<Job, plan::Error> {
    let request = Request { recipe, overrides: Overrides::default(), pre: None, importance: None, measured: false };
    Job::new(Checkpoint::open(model)?, request)
}

/// The same, weighed.
pub fn weighed(model: &Path, recipe: Recipe, importance: Importance) -> Result<Job, plan::Error> {
    let request =
        Request { recipe, overrides: Overrides::default(), pre: None, importance: Some(importance), measured: false };
    Job::new(Checkpoint::open(model)?, request)
}

/// Writes `job`'s release with two threads.
pub fn write(job: &Job, output: &Path) {
    let sink = gguf::create(output, &job.kv, &job.infos(), None).expect("the file can be made");
    let run = Run {
        source: &job.checkpoint.source,
        tensors: &job.tensors,
        threads: 2,
        isa: Isa::detected(),
        cancel: &AtomicBool::new(false),
        progress: &|_| {},
    };
    run::quantize(&run, sink).expect("the job runs");
}

/// Writes `model` as the mix of this name.
pub fn release(model: &Path, mix: &str, output: &Path) {
    let recipe = plan::recipe(mix).expect("a known mix");
    write(&job(model, recipe).expect("the job can be planned"), output);
}
