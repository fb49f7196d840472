//! GPT-2's alphabet: a printable character for every byte.

/// The character that stands for `byte`.
fn character(byte: u8) -> char {
    match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        // The others follow from U+0100 on, in order.
        0..=0x20 => shifted(u32::from(byte)),
        0x7f..=0xa0 => shifted(u32::from(byte) - 0x7f + 0x21),
        0xad => shifted(0x43),
    }
}

fn shifted(by: u32) -> char {
    char::from_u32(0x100 + by).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The character that stands for a space, as merges are written with.
pub(super) const SPACE: &str = "\u{120}";

/// What a byte-level decoder makes of `text`: the bytes that its characters stand for. `None` if a character stands for
/// no byte, or the bytes are not text.
pub(super) fn decode(text: &str) -> Option<String> {
    let byte = |c: char| (0..=u8::MAX).find(|&b| character(b) == c);
    String::from_utf8(text.chars().map(byte).collect::<Option<Vec<u8>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        let mut all: Vec<char> = (0..=u8::MAX).map(character).collect();
        assert_eq!((all[0], all[10], all[0x20], all[0x7f], all[0xa0], all[0xad]), ('Ā', 'Ċ', 'Ġ', 'ġ', 'ł', 'Ń'));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 256);
    }

    #[test]
    fn decoding_is_what_a_byte_level_decoder_does() {
        assert_eq!(decode("ĠtheĊ").as_deref(), Some(" the\n"));
        assert_eq!(decode("<|im_end|>").as_deref(), Some("<|im_end|>"));
        assert_eq!(decode("two words"), None, "a space stands for no byte");
        assert_eq!(decode("é"), None, "one byte of a longer character");
    }
}
