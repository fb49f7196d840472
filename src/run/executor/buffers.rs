//! Buffers that are used again: the first touch of fresh memory costs more than most arithmetic.

/// Vectors that nobody uses at the moment.
#[derive(Default)]
pub(super) struct Buffers(Vec<Vec<f32>>);

impl Buffers {
    /// One of `len` elements, with anything in it.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        // One of this very length needs no filling; else the smallest that is large enough, else the largest.
        let fits = |buffer: &Vec<f32>| (buffer.len() != len, buffer.capacity() < len, buffer.capacity().abs_diff(len));
        let best = (0..self.0.len()).min_by_key(|&i| fits(&self.0[i]));
        let mut buffer = best.map(|i| self.0.swap_remove(i)).unwrap_or_default();
        buffer.resize(len, 0.0);
        buffer
    }

    /// Bytes of all that wait to be used.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|buffer| buffer.capacity() * size_of::<f32>()).sum()
    }

    /// Gives all back to the system.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Back for the next.
    pub(super) fn give(&mut self, buffer: Vec<f32>) {
        self.0.push(buffer);
    }
}
