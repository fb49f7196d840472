//! Parses PTX files as a launch would: `cargo run --example parse -- FILE...` tells kernels and sizes, or what is not
//! understood.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in std::env::args().skip(1) {
        let module = std::fs::read_to_string(&path).map_err(|e| e.to_string());
        match module.and_then(|text| planish_ptx::parse(&text).map_err(|e| e.to_string())) {
            Ok(m) => {
                println!("{path}: PTX {}.{} for sm_{}", m.version.0, m.version.1, m.target);
                for k in m.kernels.values() {
                    let (n, shared) = (k.code.len(), k.shared);
                    println!("  {}: {n} instructions, {} arguments, {shared} bytes shared", k.name, k.params.len());
                }
            }
            Err(e) => {
                println!("{path}: {e}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
