//! Hidden states between layers.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{Error, Result};

/// `[rows, width]`, in memory or in a temporary file without a name.
pub(super) struct Hidden {
    width: usize,
    place: Place,
}

enum Place {
    Memory(Vec<f32>),
    /// Little-endian f32.
    File(File),
}

/// Bytes that go to or come from the file at once.
const PIECE: usize = 1 << 13;

impl Hidden {
    /// Room for `rows`, in a file if they take more than `memory` bytes.
    pub(super) fn new(rows: usize, width: usize, memory: usize) -> Result<Hidden> {
        let elements = rows.checked_mul(width).filter(|elements| elements.checked_mul(4).is_some());
        let elements = elements.ok_or(Error::TooMany { rows, width })?;
        let place = if elements * 4 <= memory {
            Place::Memory(vec![0.0; elements])
        } else {
            let file = tempfile::tempfile().and_then(|file| {
                file.set_len(elements as u64 * 4)?;
                Ok(file)
            });
            Place::File(file.map_err(Error::Spill)?)
        };
        Ok(Hidden { width, place })
    }

    /// Bytes that it takes in memory.
    pub(super) fn in_memory(&self) -> usize {
        match &self.place {
            Place::Memory(states) => states.len() * 4,
            Place::File(_) => 0,
        }
    }

    /// The rows from `row` on that fill `out`.
    pub(super) fn read(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let at = row * self.width;
        match &self.place {
            Place::Memory(states) => out.copy_from_slice(&states[at..at + out.len()]),
            Place::File(file) => {
                let mut bytes = [0; PIECE];
                for (i, out) in out.chunks_mut(PIECE / 4).enumerate() {
                    let bytes = &mut bytes[..out.len() * 4];
                    file.read_exact_at(bytes, (at * 4 + i * PIECE) as u64).map_err(Error::Spill)?;
                    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                        *out = f32::from_le_bytes(*bytes);
                    }
                }
            }
        }
        Ok(())
    }

    /// Replaces the rows from `row` on.
    pub(super) fn write(&mut self, row: usize, states: &[f32]) -> Result<()> {
        let at = row * self.width;
        match &mut self.place {
            Place::Memory(all) => all[at..at + states.len()].copy_from_slice(states),
            Place::File(file) => {
                let mut bytes = [0; PIECE];
                for (i, states) in states.chunks(PIECE / 4).enumerate() {
                    let bytes = &mut bytes[..states.len() * 4];
                    for (state, bytes) in states.iter().zip(bytes.as_chunks_mut().0) {
                        *bytes = state.to_le_bytes();
                    }
                    file.write_all_at(bytes, (at * 4 + i * PIECE) as u64).map_err(Error::Spill)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_places_keep_what_they_are_given() {
        let states: Vec<f32> = (0..70_000).map(|i| i as f32 * 0.5).collect();
        for memory in [0, usize::MAX] {
            let mut hidden = Hidden::new(7010, 10, memory).expect("room");
            hidden.write(5, &states).expect("write");
            let mut back = vec![0.0; 69_990];
            hidden.read(6, &mut back).expect("read");
            assert_eq!(back, states[10..], "{memory}");
            hidden.read(0, &mut back[..50]).expect("read");
            assert_eq!(back[..50], [0.0; 50], "{memory}");
        }
    }
}
