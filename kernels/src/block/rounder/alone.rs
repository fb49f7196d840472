//! The rounder of types with one number an element: there is no grid to choose.

use std::marker::PhantomData;

use super::Rounder;
use crate::Isa;
use crate::block::codec::{Block, Input, decode_blocks, encode_rows};

pub(in crate::block) struct Alone<B> {
    isa: Isa,
    bytes: Vec<u8>,
    block: PhantomData<B>,
}

impl<B: Block + Send> Alone<B> {
    pub(in crate::block) fn rounder(isa: Isa, rows: usize) -> Box<dyn Rounder> {
        const { assert!(B::LEN == 1) };
        Box::new(Alone::<B> { isa, bytes: vec![0; rows * B::BYTES], block: PhantomData })
    }

    fn encode(&mut self, x: &[f32]) {
        assert_eq!(x.len() * B::BYTES, self.bytes.len(), "an element a row");
        let input = Input { values: x, cols: 1, importance: None, row_squares: None };
        encode_rows::<B>(self.isa, input, &mut self.bytes);
    }
}

impl<B: Block + Send> Rounder for Alone<B> {
    fn block_len(&self) -> usize {
        1
    }

    fn fit(&mut self, x: &[f32], _: Option<&[f32]>, _: &[f32]) {
        self.encode(x);
    }

    fn snap(&mut self, col: usize, x: &[f32], out: &mut [f32]) {
        assert!(col == 0 && x.len() == out.len(), "a column of the block");
        self.encode(x);
        decode_blocks::<B>(self.isa, &self.bytes, out);
    }

    fn pack(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.bytes);
    }
}
