//! The PTX of the kernels, and its functions.

use std::collections::HashMap;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, DriverError};
use cudarc::nvrtc::Ptx;

/// A file of kernels: its name, its text, its functions.
type File = (&'static str, &'static str, &'static [&'static str]);

static FILES: &[File] = &[
    ("attend", include_str!("../../ptx/attend.ptx"), &["attend"]),
    (
        "elementwise",
        include_str!("../../ptx/elementwise.ptx"),
        &[
            "activate",
            "add",
            "add_columns",
            "affine",
            "clamp",
            "gather",
            "gather_bf16",
            "join",
            "multiply",
            "multiply_columns",
            "multiply_rows",
            "narrow",
            "scatter",
            "slice",
            "softcap",
            "widen",
        ],
    ),
    ("gemm", include_str!("../../ptx/gemm.ptx"), &["gemm_bf16", "gemm_f32", "syrk"]),
    ("norm", include_str!("../../ptx/norm.ptx"), &["norm"]),
    ("rope", include_str!("../../ptx/rope.ptx"), &["rope"]),
    ("route", include_str!("../../ptx/route.ptx"), &["mix", "route"]),
    ("stats", include_str!("../../ptx/stats.ptx"), &["sum_magnitudes", "sum_squares"]),
];

/// All kernels, loaded.
pub(super) struct Functions(HashMap<&'static str, CudaFunction>);

impl Functions {
    /// Gives the driver all PTX that this device can have. A failure names the file.
    pub(super) fn load(context: &Arc<CudaContext>, _capability: i32) -> Result<Functions, (&'static str, DriverError)> {
        let mut functions = HashMap::new();
        for &(file, text, names) in FILES {
            let module = context.load_module(Ptx::from_src(text)).map_err(|error| (file, error))?;
            for &name in names {
                functions.insert(name, module.load_function(name).map_err(|error| (file, error))?);
            }
        }
        Ok(Functions(functions))
    }

    pub(super) fn get(&self, name: &'static str) -> Option<&CudaFunction> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_of_every_file_is_listed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ptx");
        let mut stems = vec![];
        for file in std::fs::read_dir(folder).expect("kernels/ptx") {
            let path = file.expect("a file").path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
            let (_, text, names) = FILES.iter().find(|(name, ..)| *name == stem).expect("a file that is listed");
            let entry = |line: &str| Some(line.split_once(".entry ")?.1.trim_end_matches('(').to_owned());
            let mut entries: Vec<String> = text.lines().filter_map(entry).collect();
            entries.sort();
            assert_eq!(entries, *names, "{stem}");
            stems.push(stem);
        }
        assert_eq!(stems.len(), FILES.len());
    }
}
