//! A device for tests: memory, arguments and launches in a few words.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test uses a part of it")]

pub mod instruction;

use planish_ptx::{Config, Heap, Module, Options, Report, launch, parse};

/// A loaded module and its memory.
pub struct Device {
    pub heap: Heap,
    pub module: Module,
    pub options: Options,
    variables: Vec<u64>,
    /// Instructions of all launches.
    pub instructions: u64,
}

/// A kernel argument.
pub enum Arg {
    Ptr(u64),
    Int(i32),
    Float(f32),
}

pub fn f32_bytes(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|x| x.to_le_bytes()).collect()
}

pub fn u16_bytes(v: &[u16]) -> Vec<u8> {
    v.iter().flat_map(|x| x.to_le_bytes()).collect()
}

impl Device {
    pub fn new(ptx: &str) -> Self {
        let module = parse(ptx).unwrap_or_else(|e| panic!("{e}"));
        let mut heap = Heap::new(1 << 30);
        let variables =
            module.variables.iter().map(|v| heap.alloc_variable(&v.bytes, v.constant).expect("memory")).collect();
        Self { heap, module, options: Options::default(), variables, instructions: 0 }
    }

    pub fn upload(&mut self, bytes: &[u8]) -> u64 {
        let p = self.alloc(bytes.len());
        self.heap.write(p, bytes).expect("upload");
        p
    }

    pub fn floats(&mut self, v: &[f32]) -> u64 {
        self.upload(&f32_bytes(v))
    }

    pub fn halves(&mut self, v: &[u16]) -> u64 {
        self.upload(&u16_bytes(v))
    }

    pub fn alloc(&mut self, n: usize) -> u64 {
        self.heap.alloc(n as u64).expect("memory")
    }

    pub fn bytes(&mut self, p: u64, n: usize) -> Vec<u8> {
        let mut b = vec![0; n];
        self.heap.read(p, &mut b).expect("download");
        b
    }

    pub fn read_floats(&mut self, p: u64, n: usize) -> Vec<f32> {
        self.bytes(p, 4 * n).chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().expect("four"))).collect()
    }

    pub fn read_halves(&mut self, p: u64, n: usize) -> Vec<u16> {
        self.bytes(p, 2 * n).chunks_exact(2).map(|c| u16::from_le_bytes(c.try_into().expect("two"))).collect()
    }

    pub fn try_run(
        &mut self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic_shared: u32,
        args: &[Arg],
    ) -> Result<(), Report> {
        let k = self.module.kernels.get(kernel).unwrap_or_else(|| panic!("no kernel {kernel}"));
        assert_eq!(args.len(), k.params.len(), "arguments of {kernel}");
        let mut params = vec![0; k.param_bytes];
        for (a, p) in args.iter().zip(&k.params) {
            let bytes = match *a {
                Arg::Ptr(v) => v.to_le_bytes().to_vec(),
                Arg::Int(v) => v.to_le_bytes().to_vec(),
                Arg::Float(v) => v.to_le_bytes().to_vec(),
            };
            assert_eq!(bytes.len(), p.size, "an argument of {kernel}");
            params[p.offset..p.offset + p.size].copy_from_slice(&bytes);
        }
        let config = Config { grid, block, dynamic_shared };
        let stats = launch(k, &mut self.heap, &self.variables, config, &params, &self.options)?;
        self.instructions += stats.instructions;
        Ok(())
    }

    pub fn run(&mut self, kernel: &str, grid: [u32; 3], block: [u32; 3], dynamic_shared: u32, args: &[Arg]) {
        if let Err(r) = self.try_run(kernel, grid, block, dynamic_shared, args) {
            panic!("{r}");
        }
    }
}

/// Numbers that look like weights, the same on every run.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    pub fn bits(&mut self) -> u32 {
        (self.next() as u32) << 16 ^ self.next() as u32
    }

    /// Uniform in [-1, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 7) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// About normal: a sum of uniform numbers.
    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.uniform()).sum::<f32>() * std::f32::consts::FRAC_1_SQRT_2
    }

    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

pub fn bf16(v: f32) -> u16 {
    let u = v.to_bits();
    ((u + 0x7fff + (u >> 16 & 1)) >> 16) as u16
}

pub fn from_bf16(v: u16) -> f32 {
    f32::from_bits((v as u32) << 16)
}

/// The largest difference over the largest value.
pub fn error(found: &[f32], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let scale = wanted.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    let worst = found
        .iter()
        .zip(wanted)
        .fold(0f64, |m, (&f, &w)| if f.is_nan() { f64::NAN } else { m.max((f64::from(f) - w).abs()) });
    assert!(!worst.is_nan(), "NaN");
    worst / scale
}
