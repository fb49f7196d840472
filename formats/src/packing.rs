//! Codes of 2 to 8 bits in 32-bit words, in the orders in which quantized checkpoints have them.
//!
//! All words are little-endian. A row of codes that lies *densely, lowest bits first* across its words is the same stream of
//! bits across its bytes, so that a code of any width is a shift of two neighbouring bytes.
//!
//! | who | order | here |
//! |---|---|---|
//! | compressed-tensors, weights | along the input, dense | [`pack_row`], [`unpack_row`] |
//! | compressed-tensors up to 0.17, 3, 5, 6 and 7 bits | along the input, `32 / bits` a word | [`unpack_padded`] |
//! | GPTQ, weights; compressed-tensors, zero points | down the columns, dense | [`pack_columns`], [`unpack_columns`] |
//! | GPTQ, zero points | along the output, dense | [`pack_row`], [`unpack_row`] |
//! | AutoAWQ GEMM, weights and zero points | along the output, 8 a word, interleaved | [`pack_awq`], [`unpack_awq`] |
//!
//! Sources: `pack_to_int32` of compressed-tensors, `pack_original` of gptqmodel, `packing_utils.py` of AutoAWQ. Whoever unpacks
//! has checked the sizes against the shapes; these functions slice without looking again.

use std::ops::Range;

/// Words that `count` codes of `bits` bits take when they lie densely; `None` where that overflows.
pub fn words(bits: usize, count: usize) -> Option<usize> {
    Some(count.checked_mul(bits)?.div_ceil(32))
}

/// Words that `count` codes take with `32 / bits` in each.
pub fn padded_words(bits: usize, count: usize) -> usize {
    count.div_ceil(32 / bits)
}

/// Packs `codes`, each below `2^bits`, densely; bits of the last word that no code takes are zero.
///
/// # Panics
/// Where `packed` is not the [`words`] of the codes.
pub fn pack_row(bits: usize, codes: &[u8], packed: &mut [u8]) {
    assert_eq!(Some(packed.len()), words(bits, codes.len()).map(|words| 4 * words), "{} codes", codes.len());
    let (mut held, mut count, mut bytes) = (0u32, 0, packed.iter_mut());
    for &code in codes {
        held |= u32::from(code) << count;
        count += bits;
        while count >= 8 {
            if let Some(byte) = bytes.next() {
                *byte = held as u8;
            }
            held >>= 8;
            count -= 8;
        }
    }
    for byte in bytes {
        *byte = held as u8;
        held = 0;
    }
}

/// Unpacks the codes from the `first` on of a dense row.
///
/// # Panics
/// Where the row has fewer.
pub fn unpack_row(bits: usize, packed: &[u8], first: usize, codes: &mut [u8]) {
    let mask = mask(bits);
    match bits {
        8 => codes.copy_from_slice(&packed[first..first + codes.len()]),
        4 if first.is_multiple_of(2) => {
            let bytes = &packed[first / 2..(first + codes.len()).div_ceil(2)];
            for (pair, byte) in codes.chunks_mut(2).zip(bytes) {
                for (code, shift) in pair.iter_mut().zip([0, 4]) {
                    *code = byte >> shift & 15;
                }
            }
        }
        _ => {
            for (at, code) in (first..).zip(codes) {
                let bit = at * bits;
                let low = u16::from(packed[bit / 8]);
                // The last code of a row ends in its last byte.
                let high = packed.get(bit / 8 + 1).copied().map_or(0, u16::from);
                *code = ((high << 8 | low) >> (bit % 8)) as u8 & mask;
            }
        }
    }
}

/// Unpacks the codes from the `first` on of a row of words with `32 / bits` codes in each.
///
/// # Panics
/// Where the row has fewer.
pub fn unpack_padded(bits: usize, packed: &[u8], first: usize, codes: &mut [u8]) {
    let per = 32 / bits;
    for (at, code) in (first..).zip(codes) {
        *code = (word(packed, at / per) >> (at % per * bits)) as u8 & mask(bits);
    }
}

/// Packs `codes`, `[rows, width]` and each below `2^bits`, densely down the columns into words `[words(rows), width]`.
///
/// # Panics
/// Where `packed` is not that many words.
pub fn pack_columns(bits: usize, codes: &[u8], width: usize, packed: &mut [u8]) {
    let width = width.max(1);
    let lines = words(bits, codes.len() / width).unwrap_or(0);
    assert_eq!(packed.len(), 4 * lines * width, "{} codes in columns of {width}", codes.len());
    packed.fill(0);
    for (row, codes) in codes.chunks_exact(width).enumerate() {
        let (line, shift) = (row * bits / 32, row * bits % 32);
        for (column, &code) in codes.iter().enumerate() {
            let code = u64::from(code) << shift;
            or(packed, line * width + column, code as u32);
            if shift + bits > 32 {
                or(packed, (line + 1) * width + column, (code >> 32) as u32);
            }
        }
    }
}

/// Unpacks `columns` of the rows of codes from `first` on, out of words that are `width` wide and hold codes down the
/// columns. `codes` is `[columns, rows]`: a column of codes becomes a row.
///
/// # Panics
/// Where the words hold fewer.
pub fn unpack_columns(bits: usize, packed: &[u8], width: usize, first: usize, columns: Range<usize>, codes: &mut [u8]) {
    let (count, mask) = (columns.len(), mask(bits));
    let rows = codes.len() / count.max(1);
    for row in 0..rows {
        let (line, shift) = ((first + row) * bits / 32, (first + row) * bits % 32);
        let words = &packed[4 * (line * width + columns.start)..4 * (line * width + columns.end)];
        let low = words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word) >> shift);
        if shift + bits > 32 {
            let next = &packed[4 * ((line + 1) * width + columns.start)..4 * ((line + 1) * width + columns.end)];
            let high = next.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word) << (32 - shift));
            let both = low.zip(high).map(|(low, high)| (low | high) as u8 & mask);
            scatter(both, row, rows, codes);
        } else {
            scatter(low.map(|low| low as u8 & mask), row, rows, codes);
        }
    }
}

/// Writes one code to place `row` of every row of `rows` codes.
fn scatter(values: impl Iterator<Item = u8>, row: usize, rows: usize, codes: &mut [u8]) {
    for (codes, value) in codes.chunks_exact_mut(rows).zip(values) {
        codes[row] = value;
    }
}

/// The output that each four bits of a word of AutoAWQ's GEMM layout hold, lowest first.
pub const AWQ_ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// Packs a row of codes below 16, a multiple of 8 of them, in [`AWQ_ORDER`].
///
/// # Panics
/// Where `packed` is not a word for every 8 codes.
pub fn pack_awq(codes: &[u8], packed: &mut [u8]) {
    assert_eq!(8 * packed.len(), 4 * codes.len(), "{} codes", codes.len());
    for (codes, packed) in codes.as_chunks::<8>().0.iter().zip(packed.as_chunks_mut::<4>().0) {
        let word = AWQ_ORDER.iter().rev().fold(0, |word, &from| word << 4 | u32::from(codes[from]));
        *packed = word.to_le_bytes();
    }
}

/// Unpacks the codes from the `first` on of a row in [`AWQ_ORDER`].
///
/// # Panics
/// Where the row has fewer.
pub fn unpack_awq(packed: &[u8], first: usize, codes: &mut [u8]) {
    /// Where in a word each output is: the inverse of the order.
    const PLACE: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
    for (at, code) in (first..).zip(codes) {
        *code = (word(packed, at / 8) >> (4 * PLACE[at % 8])) as u8 & 15;
    }
}

fn word(packed: &[u8], at: usize) -> u32 {
    let bytes = &packed[4 * at..4 * at + 4];
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn or(packed: &mut [u8], at: usize, bits: u32) {
    let bytes = &mut packed[4 * at..4 * at + 4];
    bytes.iter_mut().zip(bits.to_le_bytes()).for_each(|(byte, more)| *byte |= more);
}

fn mask(bits: usize) -> u8 {
    (0xffu16 >> (8 - bits)) as u8
}
