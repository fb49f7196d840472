//! Products, summed in f64.

use crate::matrix::Matrix;

/// `C = alpha op(A) op(B) + beta C`.
pub(crate) struct Gemm {
    pub(crate) transpose_a: bool,
    pub(crate) transpose_b: bool,
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) c: Matrix,
    pub(crate) depth: usize,
}

/// `op(M)` with its depth contiguous: `outer` vectors of `depth`.
fn vectors(values: &[f64], outer: usize, depth: usize, contiguous: bool) -> Vec<f64> {
    if contiguous {
        return values.to_vec();
    }
    (0..outer).flat_map(|i| (0..depth).map(move |k| values[k * outer + i])).collect()
}

impl Gemm {
    pub(crate) fn run(&self) -> Result<(), String> {
        let (m, n, k) = (self.c.rows, self.c.columns, self.depth);
        for x in [&self.a, &self.b, &self.c] {
            x.check()?;
        }
        if m == 0 || n == 0 {
            return Ok(());
        }
        // Without a depth or a factor, A and B are not touched.
        let (a, b) = if k == 0 || self.alpha == 0.0 {
            (vec![0.0; m * k], vec![0.0; n * k])
        } else {
            (vectors(&self.a.read()?, m, k, self.transpose_a), vectors(&self.b.read()?, n, k, !self.transpose_b))
        };
        let old = if self.beta == 0.0 { Vec::new() } else { self.c.read()? };
        for j in 0..n {
            let column: Vec<f64> = (0..m)
                .map(|i| {
                    let sum: f64 = a[i * k..(i + 1) * k].iter().zip(&b[j * k..(j + 1) * k]).map(|(x, y)| x * y).sum();
                    self.alpha * sum + if self.beta == 0.0 { 0.0 } else { self.beta * old[j * m + i] }
                })
                .collect();
            self.c.write(j, 0..m, &column)?;
        }
        Ok(())
    }
}

/// `C = alpha op(A) op(A)^T + beta C`, one triangle of it.
pub(crate) struct Syrk {
    pub(crate) upper: bool,
    pub(crate) transpose: bool,
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
    pub(crate) a: Matrix,
    pub(crate) c: Matrix,
    pub(crate) depth: usize,
}

impl Syrk {
    pub(crate) fn run(&self) -> Result<(), String> {
        let (n, k) = (self.c.rows, self.depth);
        self.a.check()?;
        self.c.check()?;
        if n == 0 {
            return Ok(());
        }
        let a =
            if k == 0 || self.alpha == 0.0 { vec![0.0; n * k] } else { vectors(&self.a.read()?, n, k, self.transpose) };
        for j in 0..n {
            let rows = if self.upper { 0..j + 1 } else { j..n };
            // The other triangle is neither read nor written.
            let part = Matrix { address: self.c.address, rows: rows.len(), columns: 1, ..self.c };
            let offset = (j * self.c.leading + rows.start) * 4;
            let old = if self.beta == 0.0 {
                Vec::new()
            } else {
                Matrix { address: part.address + offset as u64, ..part }.read()?
            };
            let column: Vec<f64> = rows
                .clone()
                .enumerate()
                .map(|(at, i)| {
                    let sum: f64 = a[i * k..(i + 1) * k].iter().zip(&a[j * k..(j + 1) * k]).map(|(x, y)| x * y).sum();
                    self.alpha * sum + if self.beta == 0.0 { 0.0 } else { self.beta * old[at] }
                })
                .collect();
            self.c.write(j, rows, &column)?;
        }
        Ok(())
    }
}
