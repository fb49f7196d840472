//! Images: a tower over their patches, its rows in the place of tokens, and the places of tokens beside images.

use std::sync::Arc;

use planish_kernels::cpu::Turns;

use super::buffers::Buffers;
use super::layer::{self, Flow, Group};
use super::weights::{Loaded, decoded};
use super::{Error, Executor, Result, Settings};
use crate::dialect::Tensors;
use crate::model::{Frequencies, Op, Patches, Rows, Tower};

/// An image as its processor gives it.
#[derive(Clone, Copy, Debug)]
pub enum Image<'a> {
    /// Normalised pixels, `[3, side, side]`.
    Pixels(&'a [f32]),
    /// Patches of so many rows and columns, `[rows * columns, width]`.
    Patches {
        /// Their elements.
        of: &'a [f32],
        /// Rows and columns.
        grid: [usize; 2],
    },
}

/// What the tower makes of each image: rows of the width of the language model.
///
/// # Errors
/// Images of another size; weights that cannot be read or are no numbers.
pub fn see(tower: &Tower, source: &Tensors, images: &[Image<'_>], settings: &Settings) -> Result<Vec<Vec<f32>>> {
    let mut rows = images.iter().map(|image| cut(tower.patches, image)).collect::<Result<Vec<_>>>()?;
    let mut buffers = Buffers::default();
    for stage in &tower.stages {
        let weights = Loaded::layer(settings.isa, source, &stage.layer.ops)?;
        let before = match &stage.rows {
            Rows::After(param) => decoded(settings.isa, source, param)?,
            Rows::Same | Rows::WithoutFirst | Rows::Joined(_) | Rows::Means(_) => vec![],
        };
        for (image, rows) in images.iter().zip(&mut rows) {
            let read = arranged(&stage.rows, std::mem::take(rows), &before, stage.width);
            let tokens = read.len() / stage.width.max(1);
            for op in &stage.layer.ops {
                if let Op::Embed { table, .. } = op
                    && table.shape.first().is_none_or(|&most| tokens > most)
                {
                    return Err(Error::Positions { tokens, rows: table.shape.first().copied().unwrap_or(0) });
                }
            }
            let (lengths, across_lengths) = (None, None);
            let group = Group { ids: &[], tokens, rows: tokens, lengths, across: 0, across_lengths };
            let turns = |table: &Arc<Frequencies>| Some(Arc::new(axial(tower.patches, image, table)));
            let (ops, flow) = (&stage.layer.ops, Flow { hidden: read, ..Flow::default() });
            let made = layer::run(settings, &mut buffers, ops, &stage.layer, &weights, &group, flow, turns, None)?;
            *rows = made.unwrap_or_default();
        }
    }
    Ok(rows)
}

/// The rows that the first layer reads.
fn cut(patches: Patches, image: &Image<'_>) -> Result<Vec<f32>> {
    let wrong = |expected: usize, found: usize| Error::Image { found, expected };
    match (patches, image) {
        (Patches::Square { image: side, patch }, Image::Pixels(pixels)) => {
            let expected = 3 * side * side;
            if pixels.len() != expected {
                return Err(wrong(expected, pixels.len()));
            }
            let count = side / patch;
            let mut rows = Vec::with_capacity(pixels.len());
            for (row, column) in (0..count * count).map(|at| (at / count, at % count)) {
                for (channel, line) in (0..3 * patch).map(|at| (at / patch, at % patch)) {
                    let from = (channel * side + row * patch + line) * side + column * patch;
                    rows.extend_from_slice(&pixels[from..from + patch]);
                }
            }
            Ok(rows)
        }
        (Patches::Cut { width, merge }, Image::Patches { of, grid: [rows, columns] }) => {
            let count = rows.checked_mul(*columns).and_then(|count| count.checked_mul(width));
            let whole = rows % merge == 0 && columns % merge == 0 && count == Some(of.len());
            if whole { Ok(of.to_vec()) } else { Err(wrong(count.unwrap_or(0), of.len())) }
        }
        (Patches::Square { image, .. }, Image::Patches { of, .. }) => Err(wrong(3 * image * image, of.len())),
        (Patches::Cut { width, .. }, Image::Pixels(pixels)) => Err(wrong(width, pixels.len())),
    }
}

fn arranged(how: &Rows, rows: Vec<f32>, before: &[f32], width: usize) -> Vec<f32> {
    match how {
        // Side by side is how they lie.
        Rows::Same | Rows::Joined(_) => rows,
        Rows::After(_) => [before, &rows].concat(),
        Rows::WithoutFirst => rows.get(width..).unwrap_or_default().to_vec(),
        Rows::Means(side) => {
            let patches = (rows.len() / width.max(1)).isqrt();
            let count = patches / (*side).max(1);
            let mut means = vec![0.0; count * count * width];
            for (at, mean) in means.chunks_exact_mut(width).enumerate() {
                let (row, column) = (at / count * side, at % count * side);
                for (i, j) in (0..side * side).map(|at| (at / side, at % side)) {
                    let from = ((row + i) * patches + column + j) * width;
                    mean.iter_mut().zip(&rows[from..from + width]).for_each(|(mean, x)| *mean += x);
                }
                for mean in mean {
                    *mean /= (side * side) as f32;
                }
            }
            means
        }
    }
}

/// The first half of the frequencies turns by a patch's row, the others by its column.
fn axial(patches: Patches, image: &Image<'_>, table: &Frequencies) -> Turns {
    let half = table.inverse.len();
    let (Patches::Cut { merge, .. }, Image::Patches { grid: [rows, columns], .. }) = (patches, image) else {
        return Turns::new(&table.inverse, table.scale, 1);
    };
    let squares = columns / merge;
    let place = move |at: usize| {
        let (square, inner) = (at / (merge * merge), at % (merge * merge));
        [square / squares * merge + inner / merge, square % squares * merge + inner % merge]
    };
    let angles = (0..rows * columns).flat_map(|at| {
        let [row, column] = place(at);
        let by = move |j: usize| if j < half / 2 { row } else { column };
        table.inverse.iter().enumerate().map(move |(j, inverse)| by(j) as f32 * inverse)
    });
    Turns::by(angles, half)
}

/// Where tokens are for a rope that turns by time, row and column: see [`Config::sections`](crate::model::Config::sections).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    sections: [usize; 3],
    /// Of each token.
    pub of: Vec<[u32; 3]>,
}

impl Places {
    /// Of one sequence: text goes on by one in all three; the tokens of an image, which are `image_token`, have one time,
    /// and the rows and columns of the squares that they stand for; what follows begins after the largest of them. `images`
    /// has rows and columns of tokens of each.
    ///
    /// # Errors
    /// Image tokens that are not just those of the images.
    pub fn beside(ids: &[u32], image_token: u32, images: &[[usize; 2]], sections: [usize; 3]) -> Result<Places> {
        let mut of: Vec<[u32; 3]> = Vec::with_capacity(ids.len());
        let (mut next, mut images) = (0u32, images.iter());
        while of.len() < ids.len() {
            if ids[of.len()] != image_token {
                of.push([next; 3]);
                next = next.saturating_add(1);
                continue;
            }
            let here = ids[of.len()..].iter().take_while(|id| **id == image_token).count();
            let &[rows, columns] = images.next().ok_or(Error::ImageTokens { found: here, expected: 0 })?;
            let expected = rows.saturating_mul(columns);
            if expected == 0 || here < expected {
                return Err(Error::ImageTokens { found: here, expected });
            }
            of.extend((0..expected).map(|at| {
                [next, next.saturating_add((at / columns) as u32), next.saturating_add((at % columns) as u32)]
            }));
            next = next.saturating_add(rows.max(columns) as u32);
        }
        match images.len() {
            0 => Ok(Places { sections, of }),
            left => Err(Error::ImageTokens { found: 0, expected: left }),
        }
    }

    pub(super) fn turns(&self, table: &Frequencies) -> Turns {
        let inverse = table.of(self.of.len());
        let [time, row, _] = self.sections;
        let which = move |j: usize| usize::from(j >= time) + usize::from(j >= time + row);
        let angles = self
            .of
            .iter()
            .flat_map(|place| inverse.iter().enumerate().map(move |(j, inverse)| place[which(j)] as f32 * inverse));
        Turns::by(angles, inverse.len())
    }
}

impl Executor<'_> {
    /// Makes a rope of three positions turn by these, one a token of the only sequence, instead of by its number.
    ///
    /// # Errors
    /// As many tokens as there are not.
    pub fn place(&mut self, places: Places) -> Result<()> {
        if places.of.len() != self.tokens() || self.rows() != self.tokens() {
            return Err(Error::Sequences { ids: places.of.len(), tokens: self.tokens() });
        }
        self.turns.clear();
        self.places = Some(places);
        Ok(())
    }

    /// After the first step: puts `rows` in the place of the tokens that are `token`, in order.
    ///
    /// # Errors
    /// As many rows as there are such tokens not.
    pub fn splice(&mut self, token: u32, rows: &[f32]) -> Result<()> {
        let places: Vec<usize> = (0..self.rows()).filter(|&at| self.part().input.ids[at] == token).collect();
        if self.next != 1 || places.len() * self.width() != rows.len() {
            return Err(Error::ImageTokens { found: places.len(), expected: rows.len() / self.width().max(1) });
        }
        for (at, row) in places.into_iter().zip(rows.chunks_exact(self.width())) {
            self.hidden.write(at, row)?;
        }
        Ok(())
    }
}
