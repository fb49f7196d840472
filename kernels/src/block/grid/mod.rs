//! The lattices of the IQ types: few points of a large grid, and for every grid point the lattice's points around it.

mod points;

use std::sync::OnceLock;

use crate::lanes::LANES;

/// Points in the order of their indices, as the levels that decoding multiplies.
pub(super) type Points<const DIM: usize, const N: usize> = [[i8; DIM]; N];

pub(super) static IQ1: Points<8, 2048> = ternary(&points::IQ1, [-1, 0, 1]);
pub(super) static IQ2_XXS: Points<8, 256> = ternary(&points::IQ2_XXS, [8, 25, 43]);
pub(super) static IQ2_XS: Points<8, 512> = ternary(&points::IQ2_XS, [8, 25, 43]);
pub(super) static IQ2_S: Points<8, 1024> = ternary(&points::IQ2_S, [8, 25, 43]);
pub(super) static IQ3_XXS: Points<4, 256> = octal(&points::IQ3_XXS, [4, 12, 20, 28, 36, 44, 52, 62]);
pub(super) static IQ3_S: Points<4, 512> = octal(&points::IQ3_S, [1, 3, 5, 7, 9, 11, 13, 15]);

const fn ternary<const N: usize>(points: &[u16; N], levels: [i8; 3]) -> Points<8, N> {
    expand::<8, N>(points, 2, &levels)
}

const fn octal<const N: usize>(points: &[u16; N], levels: [i8; 8]) -> Points<4, N> {
    expand::<4, N>(points, 3, &levels)
}

const fn expand<const DIM: usize, const N: usize>(points: &[u16; N], bits: usize, levels: &[i8]) -> Points<DIM, N> {
    let mut out = [[0; DIM]; N];
    let mut i = 0;
    while i < N {
        let mut j = 0;
        while j < DIM {
            out[i][j] = levels[points[i] as usize >> (bits * j) & ((1 << bits) - 1)];
            j += 1;
        }
        i += 1;
    }
    out
}

/// The grid that a lattice lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// Eight elements of three levels, two bits each in a code word.
    Ternary8,
    /// Four elements of eight levels, three bits each in a code word.
    Octal4,
}

impl Space {
    /// The space of groups of this many elements.
    pub(super) const fn of_groups(dimensions: usize) -> Space {
        if dimensions == 8 { Space::Ternary8 } else { Space::Octal4 }
    }

    pub(super) const fn dimensions(self) -> usize {
        match self {
            Space::Ternary8 => 8,
            Space::Octal4 => 4,
        }
    }

    pub(super) const fn levels(self) -> usize {
        match self {
            Space::Ternary8 => 3,
            Space::Octal4 => 8,
        }
    }

    pub(super) const fn bits(self) -> usize {
        match self {
            Space::Ternary8 => 2,
            Space::Octal4 => 3,
        }
    }

    /// The place of a code word among all grid points: its levels as the digits of a number.
    pub(super) fn place(self, word: u16) -> usize {
        let digit = |i| word as usize >> (self.bits() * i) & ((1 << self.bits()) - 1);
        (0..self.dimensions()).rev().fold(0, |place, i| place * self.levels() + digit(i))
    }

    fn word(self, place: usize) -> u16 {
        let digit = |i: usize| place / self.levels().pow(i as u32) % self.levels();
        (0..self.dimensions()).fold(0, |word, i| word | (digit(i) << (self.bits() * i)) as u16)
    }
}

/// What encoding asks a lattice.
pub(super) struct Lattice {
    space: Space,
    spots: Box<[Spot]>,
    near: Box<[[u16; LANES]]>,
}

/// A grid point: on the lattice, or with neighbours on it.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    /// The point's index where it is on the lattice, else where its neighbours start.
    at: u16,
    /// The point's code word where it is on the lattice.
    word: u16,
    /// Sixteens of neighbours; 0 on the lattice.
    sixteens: u8,
    /// Whether there are eight or fewer.
    few: bool,
}

impl Spot {
    /// The code word of a spot on the lattice.
    pub(super) fn word(self) -> u16 {
        self.word
    }

    /// Whether the first eight neighbours are all.
    pub(super) fn few(self) -> bool {
        self.few
    }
}

impl Lattice {
    pub(super) fn iq1() -> &'static Lattice {
        static LATTICE: OnceLock<Lattice> = OnceLock::new();
        LATTICE.get_or_init(|| Lattice::new(Space::Ternary8, &points::IQ1, 3))
    }

    pub(super) fn iq2_xxs() -> &'static Lattice {
        static LATTICE: OnceLock<Lattice> = OnceLock::new();
        LATTICE.get_or_init(|| Lattice::new(Space::Ternary8, &points::IQ2_XXS, 2))
    }

    pub(super) fn iq2_xs() -> &'static Lattice {
        static LATTICE: OnceLock<Lattice> = OnceLock::new();
        LATTICE.get_or_init(|| Lattice::new(Space::Ternary8, &points::IQ2_XS, 2))
    }

    pub(super) fn iq2_s() -> &'static Lattice {
        static LATTICE: OnceLock<Lattice> = OnceLock::new();
        LATTICE.get_or_init(|| Lattice::new(Space::Ternary8, &points::IQ2_S, 1))
    }

    pub(super) fn iq3_xxs() -> &'static Lattice {
        static LATTICE: OnceLock<Lattice> = OnceLock::new();
        LATTICE.get_or_init(|| Lattice::new(Space::Octal4, &points::IQ3_XXS, 2))
    }

    pub(super) fn iq3_s() -> &'static Lattice {
        static LATTICE: OnceLock<Lattice> = OnceLock::new();
        LATTICE.get_or_init(|| Lattice::new(Space::Octal4, &points::IQ3_S, 3))
    }

    /// Each grid point gets as neighbours all points at its `shells` smallest distances, by distance, then by index.
    fn new(space: Space, points: &[u16], shells: usize) -> Lattice {
        let mut index = vec![None; space.levels().pow(space.dimensions() as u32)];
        for (i, &point) in points.iter().enumerate() {
            index[space.place(point)] = Some(i as u16);
        }
        let mut near = Vec::new();
        let mut distances = vec![0; points.len()];
        let spot = |(place, index): (usize, &Option<u16>)| {
            if let &Some(at) = index {
                return Spot { at, word: space.word(place), sixteens: 0, few: false };
            }
            let at = near.len() as u16;
            let levels = levels(space, space.word(place));
            for (distance, &point) in distances.iter_mut().zip(points) {
                *distance = levels_apart(levels, self::levels(space, point));
            }
            let mut words = Vec::new();
            let mut shell = -1;
            for _ in 0..shells {
                shell = distances.iter().copied().filter(|d| *d > shell).min().unwrap_or(i32::MAX);
                words.extend(distances.iter().zip(points).filter(|(d, _)| **d == shell).map(|(_, point)| *point));
            }
            let few = words.len() <= 8;
            // Repeating the first neighbour changes no answer.
            words.resize(words.len().next_multiple_of(LANES), words[0]);
            near.extend_from_slice(words.as_chunks().0);
            Spot { at, word: 0, sixteens: (words.len() / LANES) as u8, few }
        };
        let spots = index.iter().enumerate().map(spot).collect();
        Lattice { space, spots, near: near.into() }
    }

    pub(super) fn spot(&self, place: usize) -> Spot {
        self.spots[place]
    }

    /// The code words around a spot, sixteen at a time; none where the spot is on the lattice.
    pub(super) fn near(&self, spot: Spot) -> &[[u16; LANES]] {
        if spot.sixteens == 0 { &[] } else { &self.near[usize::from(spot.at)..][..usize::from(spot.sixteens)] }
    }

    /// The index of a point of the lattice.
    pub(super) fn index(&self, word: u16) -> u16 {
        self.spots[self.space.place(word)].at
    }
}

fn levels(space: Space, word: u16) -> [i32; 8] {
    std::array::from_fn(|i| i32::from(word) >> (space.bits() * i).min(16) & ((1 << space.bits()) - 1))
}

fn levels_apart(a: [i32; 8], b: [i32; 8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
