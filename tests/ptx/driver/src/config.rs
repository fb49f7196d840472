//! What device the library plays, as environment variables say.

use std::env;
use std::io::Write;

/// The device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    pub(crate) devices: i32,
    pub(crate) memory: u64,
    pub(crate) capability: u32,
    pub(crate) driver: i32,
    /// Newest PTX ISA that the driver understands.
    pub(crate) isa: (u32, u32),
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| {
            eprintln!("ptx: {name}={text} is not a number; it is ignored");
            default
        }),
    }
}

/// Newest ISA of a driver, from NVIDIA's table of PTX releases.
fn isa_of(driver: i32) -> (u32, u32) {
    match driver / 10 {
        ..=1099 => (6, 5),
        n @ 1100..=1199 => (7, (n - 1100).min(8) as u32),
        n @ 1200..=1205 => (8, (n - 1200) as u32),
        1206 => (8, 5),
        1207 => (8, 6),
        1208 => (8, 7),
        1209 => (8, 8),
        _ => (9, 0),
    }
}

impl Config {
    pub(crate) fn from_env() -> Self {
        let driver = number("PLANISH_PTX_DRIVER", 12090);
        let isa = env::var("PLANISH_PTX_ISA").ok().and_then(|t| {
            let (a, b) = t.split_once('.')?;
            Some((a.parse().ok()?, b.parse().ok()?))
        });
        Self {
            devices: number("PLANISH_PTX_DEVICES", 1),
            memory: number("PLANISH_PTX_MEMORY", 8 << 30),
            capability: number("PLANISH_PTX_CAPABILITY", 90),
            driver,
            isa: isa.unwrap_or_else(|| isa_of(driver)),
        }
    }
}

/// Blocks and threads run from the last to the first.
pub(crate) fn reversed() -> bool {
    env::var("PLANISH_PTX_ORDER").is_ok_and(|v| v == "reversed")
}

/// Races are looked for.
pub(crate) fn races() -> bool {
    env::var("PLANISH_PTX_RACES").map_or(true, |v| v != "off")
}

/// Each launch is told to stderr.
pub(crate) fn verbose() -> bool {
    env::var_os("PLANISH_PTX_VERBOSE").is_some()
}

/// Thread instructions after which a launch hangs.
pub(crate) fn limit(default: u64) -> u64 {
    number("PLANISH_PTX_LIMIT", default)
}

/// Writes a report to stderr and to the file that `PLANISH_PTX_REPORT` names.
pub(crate) fn report(text: &str) {
    eprintln!("ptx: {text}");
    let Some(path) = env::var_os("PLANISH_PTX_REPORT") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    if let Err(e) = file.and_then(|mut f| writeln!(f, "{text}")) {
        eprintln!("ptx: {}: {e}", path.display());
    }
}
