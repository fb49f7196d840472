//! The driver's state: memory, modules and handles. Handles are numbers that are never used twice, so that one which
//! was destroyed is noticed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use planish_ptx::{Heap, Kernel, Module, Options, launch};

use crate::config::{self, Config};
use crate::error::{self, Code};

/// What a handle stands for.
#[derive(Debug, Clone)]
pub(crate) enum Handle {
    Context(i32),
    Stream,
    Event { recorded: Option<std::time::Instant> },
    Module(Arc<Loaded>),
    Function { module: Arc<Loaded>, name: String, dynamic_shared: usize },
}

/// A module in device memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) module: Module,
    pub(crate) variables: Vec<u64>,
}

/// The driver.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) config: Config,
    pub(crate) heap: Heap,
    pub(crate) handles: BTreeMap<usize, Handle>,
    /// Pinned memory of the host.
    pub(crate) pinned: BTreeMap<usize, Box<[u64]>>,
    next: usize,
}

/// The driver, locked. One launch runs at a time.
pub(crate) fn driver() -> MutexGuard<'static, Driver> {
    static DRIVER: OnceLock<Mutex<Driver>> = OnceLock::new();
    let d = DRIVER.get_or_init(|| {
        let config = Config::from_env();
        Mutex::new(Driver {
            config,
            heap: Heap::new(config.memory),
            handles: BTreeMap::new(),
            pinned: BTreeMap::new(),
            next: 0x1000,
        })
    });
    d.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    /// A new handle.
    pub(crate) fn add(&mut self, h: Handle) -> usize {
        self.next += 16;
        self.handles.insert(self.next, h);
        self.next
    }

    /// The context of a device; each has one, made when it is first asked for.
    pub(crate) fn primary(&mut self, device: i32) -> usize {
        let found = self.handles.iter().find(|(_, h)| matches!(h, Handle::Context(d) if *d == device));
        match found {
            Some((&id, _)) => id,
            None => self.add(Handle::Context(device)),
        }
    }

    /// Loads PTX text.
    pub(crate) fn load(&mut self, text: &str) -> Result<usize, Code> {
        let module = planish_ptx::parse(text).map_err(|e| {
            config::report(&format!("InvalidPtx: {e}"));
            error::INVALID_PTX
        })?;
        if module.version > self.config.isa {
            let ((a, b), (c, d)) = (module.version, self.config.isa);
            config::report(&format!("UnsupportedPtx: PTX {a}.{b}, the driver understands up to {c}.{d}"));
            return Err(error::UNSUPPORTED_PTX_VERSION);
        }
        if module.target > self.config.capability {
            let (t, c) = (module.target, self.config.capability);
            config::report(&format!("InvalidPtx: .target sm_{t}, the device is sm_{c}"));
            return Err(error::INVALID_PTX);
        }
        let mut variables = Vec::new();
        for v in &module.variables {
            let bytes = if v.bytes.is_empty() { &[0][..] } else { &v.bytes };
            variables.push(self.heap.alloc_variable(bytes, v.constant).map_err(|_| error::OUT_OF_MEMORY)?);
        }
        if config::verbose() {
            eprintln!("ptx: a module for sm_{} with {} kernels", module.target, module.kernels.len());
        }
        Ok(self.add(Handle::Module(Arc::new(Loaded { module, variables }))))
    }

    /// Frees a module's variables.
    pub(crate) fn unload(&mut self, id: usize) -> Result<(), Code> {
        match self.handles.remove(&id) {
            Some(Handle::Module(m)) => {
                for &v in &m.variables {
                    self.heap.free(v);
                }
                self.handles.retain(|_, h| !matches!(h, Handle::Function { module, .. } if Arc::ptr_eq(module, &m)));
                Ok(())
            }
            Some(other) => {
                self.handles.insert(id, other);
                Err(error::INVALID_HANDLE)
            }
            None => Err(error::INVALID_HANDLE),
        }
    }

    /// The kernel behind a function's handle, its module, and the dynamic shared memory that was asked for.
    pub(crate) fn kernel(&self, id: usize) -> Result<(Arc<Loaded>, String, usize), Code> {
        match self.handles.get(&id) {
            Some(Handle::Function { module, name, dynamic_shared }) => {
                Ok((module.clone(), name.clone(), *dynamic_shared))
            }
            _ => Err(error::INVALID_HANDLE),
        }
    }

    /// Runs a kernel.
    pub(crate) fn launch(&mut self, id: usize, grid: [u32; 3], block: [u32; 3], dynamic: u32, params: &[u8]) -> Code {
        let (module, name, asked) = match self.kernel(id) {
            Ok(k) => k,
            Err(code) => return code,
        };
        let Some(kernel) = module.module.kernels.get(&name) else { return error::INVALID_HANDLE };
        let defaults = Options::default();
        let options = Options {
            reverse: config::reversed(),
            races: config::races(),
            shared_asked: asked,
            limit: config::limit(defaults.limit),
            ..defaults
        };
        let size = planish_ptx::Config { grid, block, dynamic_shared: dynamic };
        let start = std::time::Instant::now();
        match launch(kernel, &mut self.heap, &module.variables, size, params, &options) {
            Ok(stats) => {
                if config::verbose() {
                    let (s, n) = (start.elapsed().as_secs_f64(), stats.instructions);
                    let rate = n as f64 / s.max(1e-9) / 1e6;
                    eprintln!(
                        "ptx: {name}: {} threads, {n} instructions, {:.2} ms, {rate:.0} M/s",
                        stats.threads,
                        s * 1e3
                    );
                }
                error::SUCCESS
            }
            Err(report) => {
                config::report(&report.to_string());
                error::code_of(report.kind)
            }
        }
    }
}

/// A device attribute, by its number in `CUdevice_attribute`.
pub(crate) fn attribute(c: &Config, a: i32) -> i32 {
    match a {
        // Threads of a block, and of it by axis.
        1..=3 => 1024,
        4 => 64,
        // Blocks by axis.
        5 => i32::MAX,
        6 | 7 => 65535,
        8 => 48 * 1024,
        9 => 64 * 1024,
        10 => 32,
        // Registers of a block.
        12 => 65536,
        13 => 1_000_000,
        16 => 4,
        // Copies beside kernels, concurrent kernels, unified addresses.
        15 | 31 | 41 => 1,
        36 => 1_000_000,
        37 => 256,
        38 => 4 << 20,
        39 => 2048,
        75 => (c.capability / 10) as i32,
        76 => (c.capability % 10) as i32,
        81 => 100 * 1024,
        82 => 65536,
        97 => 99 * 1024,
        106 => 16,
        // Memory pools.
        115 => 1,
        _ => 0,
    }
}

/// A function attribute, by its number in `CUfunction_attribute`.
pub(crate) fn function_attribute(k: &Kernel, asked: usize, isa: (u32, u32), target: u32, a: i32) -> Option<i32> {
    Some(match a {
        0 => k.max_threads.map_or(1024, |n| n as i32),
        1 => k.shared as i32,
        2 => 0,
        3 => k.local as i32,
        // Registers: a bound, the real number is the compiler's.
        4 => (k.rows32.len() + 2 * k.rows64.len()).min(255) as i32,
        5 => (isa.0 * 10 + isa.1) as i32,
        6 => target as i32,
        7 => 0,
        8 => asked.max(48 * 1024 - k.shared.min(48 * 1024)) as i32,
        9 => -1,
        _ => return None,
    })
}
