//! Whatever bytes come, the reader answers; and what it accepts, it can show.
#![no_main]

#[path = "check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(contents) = planish_formats::gguf::parse(bytes) {
        check::views(bytes, &contents);
    }
});
