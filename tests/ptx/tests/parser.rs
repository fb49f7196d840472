//! What the parser refuses, and how it says so.
#![allow(missing_docs)]

mod support;

use support::instruction::kernel;

#[test]
fn levels_of_the_isa_are_checked() {
    let old = |op: &str, out, inputs: &[&str], target| {
        planish_ptx::parse(&kernel(op, out, inputs, "6.4", target)).expect_err(op).to_string()
    };
    let e = old("cvt.rn.bf16.f32 $;", "u16", &["f32"], "sm_80");
    assert!(e.contains("needs PTX ISA 7.0") && e.contains("cvt.rn.bf16.f32"), "{e}");
    let e = planish_ptx::parse(&kernel("cvt.rn.bf16.f32 $;", "u16", &["f32"], "7.8", "sm_70")).expect_err("sm_70");
    assert!(e.to_string().contains("needs .target sm_80"), "{e}");
}

#[test]
fn texts_that_are_not_understood_name_line_and_instruction() {
    for (op, part) in [
        ("fma.rn.wrong.f32 %w7, %w0, %w0, %w0;", "`.wrong` is not supported"),
        ("frob.b32 %w7, %w0;", "`frob.b32` is not supported"),
        ("add.s32 %w7, %w0;", "operand 3 is missing"),
        ("add.s32 %w7, %w99, %w0;", "unknown register `%w99`"),
        ("add.s32 %w7, %d0, %w0;", "a register of another width"),
        ("add.s64 %w7, %w0, %w0;", "a register of another width"),
        ("bra nowhere;", "no label `nowhere`"),
        ("shfl.bfly.b32 %w7, %w0, 1, 31;", "is missing"),
        ("ld.global.v2.f32 {%w7}, [%d0];", "another length"),
        ("ld.global.f32 %w7, [%w0];", "64-bit register"),
        ("sqrt.approx.s32 %w7, %w0;", "is not supported"),
    ] {
        let e = planish_ptx::parse(&kernel(op, "u32", &["u32"], "7.8", "sm_90")).expect_err(op);
        assert!(e.to_string().contains(part), "{op}: {e}");
        assert!(e.line > 5, "{e}");
    }
}

#[test]
fn planishs_own_kernels_are_understood() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/ptx");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no {}", folder.display());
        return;
    };
    for path in entries.map(|e| e.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "ptx")) {
        let text = std::fs::read_to_string(&path).expect("a file");
        let module = planish_ptx::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(!module.kernels.is_empty(), "{} has no kernels", path.display());
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let whole = include_str!("../kernels/search.ptx");
    // Cut short, and with a byte changed: an error or a module, but never a panic.
    for cut in (0..whole.len()).step_by(97) {
        let _ = planish_ptx::parse(&whole[..cut]);
    }
    for (i, by) in (0..whole.len()).step_by(61).zip("{}[]();,:@%$<>=|-+.0x\"".chars().cycle()) {
        let _ = planish_ptx::parse(&format!("{}{by}{}", &whole[..i], &whole[i + 1..]));
    }
    for text in
        ["", ".version", ".version 8.1 .target sm_70 .visible .entry k(", ".version 8.1\n.shared .b8 a[99999999999];"]
    {
        assert!(planish_ptx::parse(text).is_err(), "{text}");
    }
}
