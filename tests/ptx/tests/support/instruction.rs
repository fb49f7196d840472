//! One instruction on edge values and random bits, compared with a closure.

use super::{Arg, Device, Random};

/// A register type of PTX: its class in the test's kernels, and its bytes.
fn register(ty: &str) -> (&'static str, usize) {
    match ty {
        "b16" | "u16" | "s16" | "f16" | "bf16" => ("h", 2),
        "b64" | "u64" | "s64" | "f64" => ("d", 8),
        _ => ("w", 4),
    }
}

/// A kernel that does `op d, a, b, c` for one element a thread.
pub fn kernel(op: &str, out: &str, inputs: &[&str], version: &str, target: &str) -> String {
    let mut body = String::new();
    for (i, ty) in inputs.iter().enumerate() {
        let (class, size) = register(ty);
        body += &format!(
            "ld.param.u64 %rd1, [in{i}];\n mad.wide.u32 %rd1, %r0, {size}, %rd1;\n ld.global.b{} %{class}{i}, [%rd1];\n",
            8 * size
        );
    }
    let (class, size) = register(out);
    let names: Vec<String> = inputs.iter().enumerate().map(|(i, t)| format!("%{}{i}", register(t).0)).collect();
    let params: String = (0..inputs.len()).map(|i| format!(".param .u64 in{i}, ")).collect();
    format!(
        ".version {version}\n.target {target}\n.address_size 64\n.visible .entry k({params}.param .u64 out)\n{{\n\
         .reg .b16 %h<8>; .reg .b32 %w<8>; .reg .b64 %d<8>; .reg .b32 %r<4>; .reg .b64 %rd<4>; .reg .pred %p<4>;\n\
         mov.u32 %r0, %tid.x;\n{body} {}\n\
         ld.param.u64 %rd2, [out];\n mad.wide.u32 %rd2, %r0, {size}, %rd2;\n st.global.b{} [%rd2], %{class}7;\n ret;\n}}\n",
        op.replace('$', &format!("%{class}7, {}", names.join(", "))),
        8 * size,
    )
}

fn edges(ty: &str, i: usize, r: &mut Random) -> u64 {
    let wide =
        [0u64, 1, 2, 31, 32, 33, 63, 64, 127, 128, 255, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    let f32s = [
        0.0f32,
        -0.0,
        1.0,
        -1.0,
        0.5,
        2.5,
        3.5,
        -2.5,
        1e-40,
        -1e-45,
        3.4e38,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        65504.0,
        65520.0,
        1e10,
        -1e20,
        0.1,
        2147483648.0,
    ];
    let random = u64::from(r.bits()) << 32 | u64::from(r.bits());
    match ty {
        "f32" if i < f32s.len() => f32s[i].to_bits().into(),
        "f32" if i.is_multiple_of(2) => (r.normal() * 2f32.powi((i % 40) as i32 - 20)).to_bits().into(),
        "f64" if i < f32s.len() => f64::from(f32s[i]).to_bits(),
        "f64" if i.is_multiple_of(2) => f64::from(r.normal()).to_bits(),
        _ if i < wide.len() => {
            if i % 3 == 2 {
                wide[i].wrapping_neg()
            } else {
                wide[i]
            }
        }
        _ => random,
    }
}

const N: usize = 512;

/// Runs `op` on edge values and compares with `wanted`, which gets the bits of the sources.
pub fn check_on(op: &str, out: &str, inputs: &[&str], (version, target): (&str, &str), wanted: impl Fn(&[u64]) -> u64) {
    let mut d = Device::new(&kernel(op, out, inputs, version, target));
    let mut r = Random(99);
    let mut columns = Vec::new();
    for (k, ty) in inputs.iter().enumerate() {
        let size = register(ty).1;
        // Each source walks the edge values at its own pace, so that they meet.
        let v: Vec<u64> =
            (0..N).map(|i| edges(ty, if i < 400 { i / 20usize.pow(k as u32 % 2) % 20 } else { i }, &mut r)).collect();
        let bytes: Vec<u8> = v.iter().flat_map(|v| v.to_le_bytes()[..size].to_vec()).collect();
        columns.push((d.upload(&bytes), v, size));
    }
    let size = register(out).1;
    let po = d.alloc(N * size);
    let mut args: Vec<Arg> = columns.iter().map(|c| Arg::Ptr(c.0)).collect();
    args.push(Arg::Ptr(po));
    d.run("k", [1, 1, 1], [N as u32, 1, 1], 0, &args);
    let found = d.bytes(po, N * size);
    let cut = |v: u64, size: usize| if size == 8 { v } else { v & ((1 << (8 * size)) - 1) };
    for i in 0..N {
        let sources: Vec<u64> = columns.iter().map(|(_, v, s)| cut(v[i], *s)).collect();
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&found[i * size..(i + 1) * size]);
        let (f, w) = (u64::from_le_bytes(bytes), cut(wanted(&sources), size));
        let nan = match out {
            "f32" => f32::from_bits(f as u32).is_nan() && f32::from_bits(w as u32).is_nan(),
            "f64" => f64::from_bits(f).is_nan() && f64::from_bits(w).is_nan(),
            _ => false,
        };
        assert!(f == w || nan, "{op}: {sources:#x?} gives {f:#x}, wanted {w:#x}");
    }
}

pub fn check(op: &str, out: &str, inputs: &[&str], wanted: impl Fn(&[u64]) -> u64) {
    check_on(op, out, inputs, ("7.8", "sm_90"), wanted);
}
