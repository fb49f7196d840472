//! Little-endian values of 1, 2, 4 or 8 bytes. The widths are spelt out: a copy of a variable length is a call.

/// Reads `n` bytes at `at`, zero-extended.
#[inline]
pub(crate) fn read(data: &[u8], at: usize, n: usize) -> u64 {
    let b = &data[at..at + n];
    match *b {
        [a] => a.into(),
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => b.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)),
    }
}

/// Writes the low `n` bytes at `at`.
#[inline]
pub(crate) fn write(data: &mut [u8], at: usize, n: usize, v: u64) {
    let b = &mut data[at..at + n];
    match n {
        1 => b[0] = v as u8,
        2 => b.copy_from_slice(&(v as u16).to_le_bytes()),
        4 => b.copy_from_slice(&(v as u32).to_le_bytes()),
        8 => b.copy_from_slice(&v.to_le_bytes()),
        _ => b.iter_mut().zip(v.to_le_bytes()).for_each(|(b, v)| *b = v),
    }
}
