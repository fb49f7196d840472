//! The Modelfile that `ollama create` reads. Format: Ollama's `docs/modelfile.md`.
//!
//! No `TEMPLATE` is written: the chat template in the GGUF is the model's own and Ollama's engine runs it.

use std::path::PathBuf;

use crate::checkpoint::{About, sampling_parameters};
use crate::plan::Job;

/// The Modelfile of a release in `files`, which lie in one folder with it.
pub fn modelfile(job: &Job, files: &[PathBuf]) -> String {
    let mut lines: Vec<String> =
        (files.iter()).filter_map(|file| file.file_name()).map(|name| format!("FROM ./{}", name.display())).collect();
    if let About::HuggingFace { generation, .. } = &job.checkpoint.about {
        for (name, value) in sampling_parameters(generation) {
            lines.push(format!("PARAMETER {name} {value}"));
        }
    }
    lines.extend(job.stop.iter().map(|stop| format!("PARAMETER stop {}", quoted(stop))));
    lines.push(String::new());
    lines.join("\n")
}

/// A text in the quotes that the format needs: three where it has a quote or a line break itself.
fn quoted(text: &str) -> String {
    if text.contains(['"', '\n']) { format!("\"\"\"{text}\"\"\"") } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_quoted() {
        assert_eq!(quoted("<|im_end|>"), "\"<|im_end|>\"");
        assert_eq!(quoted("a\"b"), "\"\"\"a\"b\"\"\"");
    }
}
